"""From a prompt and its options to the group that decodes it: which strategy, with which parts."""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmbuilder.checks import check_text, is_list, is_many, shown
from llmbuilder.config import GenerationConfig, Options
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.decoding.continuation import Continuation, TextStream
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.lookup import LookupGroup
from llmbuilder.decoding.prompt import Limits, Prompt, check_ids, prepare
from llmbuilder.decoding.ranking import make_scorer
from llmbuilder.decoding.samples import SampleGroup
from llmbuilder.decoding.sampling import make_sampler
from llmbuilder.decoding.stopping import StopMatcher
from llmbuilder.decoding.textlimit import TextLimit
from llmbuilder.detokenizer import Detokenizer
from llmbuilder.errors import ConfigError, LLMBuilderError
from llmbuilder.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ConstrainedPrompt:
    """A prompt whose continuations meet a constraint.

    ``begin`` makes the constraint's first state once everything about the prompt, its budget included, is settled. It
    raises `ConstraintError` if no continuation can meet it.
    """

    prompt: str | Sequence[int]
    begin: Callable[[Prompt], Constraint]


PromptLike = str | Sequence[int] | ConstrainedPrompt
"""A prompt as text or as token ids, perhaps constrained."""


class GroupMaker:
    """Makes groups for one model and its tokenizer."""

    def __init__(self, limits: Limits, tokenizer: Tokenizer) -> None:
        """Encode with ``tokenizer``, within the ``limits`` of a model."""
        self._limits = limits
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._limit = TextLimit(tokenizer, limits.context_length)

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Token ids of a prompt, all of them in the vocabulary.

        Raises:
            ConfigError: neither text nor ids, text with half a character, or ids outside the vocabulary.
            ContextOverflowError: text of more characters than the window could ever hold.
        """
        if isinstance(prompt, str):
            # Every tokenizer fails at half a character in a way of its own.
            check_text("The prompt", prompt)
            self._limit.check("The prompt", prompt)
            return self._tokenizer.encode(prompt)
        ids = _token_ids(prompt)
        if ids is None:
            raise ConfigError(f"A prompt must be text or a sequence of token ids, got {shown(prompt)}.")
        check_ids("prompt", ids, self._limits.usable_vocab)
        return ids

    def prepare(self, prompt: PromptLike, config: GenerationConfig) -> Prompt:
        """Settle everything about a prompt; see `llmbuilder.decoding.prompt.prepare`."""
        if isinstance(prompt, ConstrainedPrompt):
            plain = self.prepare(prompt.prompt, config)
            return replace(plain, constraint=prompt.begin(plain))
        ids = self.encode(prompt)
        text = prompt if isinstance(prompt, str) else self._tokenizer.decode(ids)
        return prepare(self._limits, ids, text, config)

    def group(self, prompt: Prompt, tag: object = None) -> Group:
        """The strategy that the prompt's options ask for."""
        if prompt.config.num_beams > 1:
            from llmbuilder.decoding.beam import BeamGroup

            scorer = make_scorer(prompt, self._limits.usable_vocab)
            return BeamGroup(prompt, self._stream(prompt), scorer, tag=tag)
        start = self._stream(prompt)
        continuations = [
            self._continuation(prompt, start.branch(), k) for k in range(prompt.config.num_return_sequences)
        ]
        strategy = SampleGroup if prompt.config.prompt_lookup_num_tokens is None else LookupGroup
        return strategy(prompt, continuations, tag=tag)

    def _continuation(self, prompt: Prompt, stream: TextStream, index: int) -> Continuation:
        sampler = make_sampler(
            prompt.config,
            prompt_ids=prompt.ids,
            eos_ids=prompt.eos_ids,
            vocab_size=self._limits.usable_vocab,
            sequence_index=index,
        )
        return Continuation(prompt, sampler, stream)

    def _stream(self, prompt: Prompt) -> TextStream:
        matcher = StopMatcher(prompt.config.stop_strings or ())
        return TextStream(self._detokenizer, matcher, self._detokenizer.start(prompt.ids))


def _token_ids(prompt: Sequence[int]) -> list[int] | None:
    """The whole numbers of a sequence or an array; None if it is anything else."""
    if isinstance(prompt, bytes | bytearray | Mapping | set | frozenset):
        return None
    try:
        items = list(prompt)
        return None if any(isinstance(item, bool) for item in items) else list(map(operator.index, items))
    except TypeError:
        return None


def check_prompts(prompts: Sequence[PromptLike]) -> Sequence[PromptLike]:
    """The list of prompts that an argument must be.

    Raises:
        ConfigError: a single prompt, or no sequence.
    """
    if not is_list(prompts):
        raise ConfigError(
            f"prompts must be a list of prompts, got {type(prompts).__name__}. Use complete() for one prompt."
        )
    return prompts


def own_options(configs: Sequence[Options] | None, prompts: int) -> Sequence[Options]:
    """The options of each of so many prompts, which those of a call may give.

    Raises:
        ConfigError: not one entry for each prompt.
    """
    if configs is not None and not is_list(configs):
        raise ConfigError("configs are the options of each prompt, a list; one for all is config=...")
    if configs is not None and len(configs) != prompts:
        raise ConfigError(
            f"configs must have one entry for each of the {prompts} prompts, got {len(configs)}."
        )
    return configs or [None] * prompts


def requested(
    requests: Iterable[Any], make: Callable[[PromptLike, Any], Group]
) -> Iterator[Group | LLMBuilderError | None]:
    """The groups that ``make`` makes of requests, each a prompt and its options; an error in place of one it cannot.

    None among the requests stays None.

    Raises:
        ConfigError: no requests to go through, but a single one, or something else.
    """
    if not is_many(requests):
        raise ConfigError(f"requests must be pairs of a prompt and its options, got {shown(requests)}.")
    return (request if request is None else _made(request, make) for request in requests)


def _made(request: Any, make: Callable[[PromptLike, Any], Group]) -> Group | LLMBuilderError:
    try:
        if not is_list(request) or len(request) != 2:
            raise ConfigError(f"A request must be a pair of a prompt and its options, got {shown(request)}.")
        return make(*request)
    except LLMBuilderError as error:
        return error
