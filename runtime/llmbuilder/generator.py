"""`TextGenerator`: text in, completions out. Everything else in the package is thin over it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from llmbuilder.checks import StrPath
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.decoding.continuation import FinishReason, Outcome
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.logits import log_softmax
from llmbuilder.decoding.loop import decode
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.rows import RowDecoder
from llmbuilder.decoding.sampling import TokenLogprobs, token_logprobs
from llmbuilder.decoding.strategies import ConstrainedPrompt, GroupMaker, PromptLike
from llmbuilder.engine.loading import Engine, Lease, acquire
from llmbuilder.engine.model import chunk_sizes
from llmbuilder.engine.prefix import remembering
from llmbuilder.engine.session import Device
from llmbuilder.errors import ConfigError, ContextOverflowError, LLMBuilderError
from llmbuilder.tokenizer import Tokenizer

__all__ = [
    "Completion",
    "ConstrainedPrompt",
    "Constraint",
    "Device",
    "Engine",
    "Options",
    "Prompt",
    "PromptLike",
    "Score",
    "TextGenerator",
    "log_softmax",
    "remembering",
]
"""What lies above takes from here what it needs of decoding and engine."""

Options = GenerationConfig | Mapping[str, Any] | None

DEFAULT_BATCH_SIZE = 8
_SCORE_CHUNK = 128
_FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of a prompt.

    ``token_ids`` holds every new token, EOS and those of a stop string included; ``text`` holds neither, but begins
    with the prompt if ``return_full_text`` says so.
    ``tokens_per_second`` counts the tokens after the first, 0.0 if there is none.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] | None
    finish_reason: FinishReason
    prompt_tokens: int
    truncated_tokens: int
    seconds_to_first_token: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a model finds a text: n ids, the n-1 log-probabilities (nats) of all but the first, perplexity."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    perplexity: float


class TextGenerator(Closing):
    """Generates text with one model. May be used from many threads; also a context manager.

    Options come in layers: keyword overrides, then ``config`` of the call, then ``config`` of the generator, then the
    bundle's own defaults.
    """

    def __init__(
        self,
        model_path: StrPath,
        tokenizer_path: StrPath | None = None,
        *,
        device: Device = "auto",
        threads: int | None = None,
        config: GenerationConfig | None = None,
    ) -> None:
        """Open a bundle, or the bundle made from a checkpoint.

        Args:
            model_path: a bundle directory or an LLMBuilder checkpoint.
            tokenizer_path: the tokenizer that the bundle must have been exported with; None: do not compare.
            device: ``cpu``, ``cuda``, or ``auto``: what the bundle was exported for.
            threads: CPU threads; None: as many as this process may use.
            config: options for all calls.

        Raises:
            ModelNotFoundError, BundleError, TokenizerError, DeviceError: see their docstrings.
        """
        GenerationConfig.merge(config)  # a model is not loaded in vain
        lease = acquire(model_path, tokenizer_path, device=device, threads=threads)
        self._start(lease.engine, config, lease)

    @classmethod
    def from_engine(cls, engine: Engine, config: GenerationConfig | None = None) -> Self:
        """Generate with parts made elsewhere, such as those of `llmbuilder.testing`."""
        self = cls.__new__(cls)
        self._start(engine, config)
        return self

    def _start(self, engine: Engine, config: GenerationConfig | None, lease: Lease | None = None) -> None:
        self._engine = engine
        self._lease = lease
        self._config = config
        self._maker = GroupMaker(engine, engine.tokenizer)
        self._closed = False

    @property
    def engine(self) -> Engine:
        """The model with its tokenizer, which this generator keeps loaded."""
        return self._engine

    @property
    def config(self) -> GenerationConfig:
        """The options of a call that names none: the generator's over the bundle's own."""
        return self._merge()

    @property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer."""
        return self._engine.tokenizer

    def generate(self, prompt: str, config: GenerationConfig | None = None, **overrides: Any) -> str:
        """Continue ``prompt`` and return the text."""
        return self.generate_batch([prompt], config, **overrides)[0]

    def stream(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Any,
    ) -> Iterator[str]:
        """Continue ``prompt``, yielding text as soon as it is certain. Closing the iterator stops the work."""
        merged = self._single(config, overrides)
        if merged.num_beams > 1:
            raise ConfigError("Beam search knows its text only at the end and cannot stream: use generate().")
        return self._pieces(self._open().prepare(prompt, merged))

    def pieces(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Any,
    ) -> Iterator[str]:
        """As `stream`; the text of a beam search, known only at the end, is one piece."""
        merged = self._single(config, overrides)
        if merged.num_beams == 1:
            return self.stream(prompt, merged)
        return (completion.text for completion in self.complete(prompt, merged))

    def generate_batch(
        self,
        prompts: Sequence[str],
        config: GenerationConfig | None = None,
        **overrides: Any,
    ) -> list[str]:
        """Continue each prompt; the texts are those of generating each alone."""
        completions = self.complete_batch(prompts, config=self._single(config, overrides))
        return [completion.text for (completion,) in completions]

    def complete(
        self,
        prompt: PromptLike,
        config: GenerationConfig | None = None,
        **overrides: Any,
    ) -> list[Completion]:
        """Continue a prompt ``num_return_sequences`` times and report everything about each continuation."""
        return self.complete_batch([prompt], config=config, **overrides)[0]

    def complete_batch(
        self,
        prompts: Sequence[PromptLike],
        configs: Sequence[Options] | None = None,
        config: GenerationConfig | None = None,
        **overrides: Any,
    ) -> list[list[Completion]]:
        """Continue several prompts; ``configs`` has the options of each, over all that they have in common.

        ``batch_size`` of the common options bounds the sequences decoded at once.
        """
        if isinstance(prompts, str) or not isinstance(prompts, Sequence):
            raise ConfigError(
                f"prompts must be a list of prompts, got {type(prompts).__name__}. Use complete() for one prompt."
            )
        if configs is not None and len(configs) != len(prompts):
            raise ConfigError(
                f"configs must have one entry for each of the {len(prompts)} prompts, got {len(configs)}."
            )
        common = self._merge(config, overrides)
        own = configs or [None] * len(prompts)
        merged = [self._merge_own(config, overrides, options) for options in own]
        maker = self._open()
        groups = [
            maker.group(maker.prepare(prompt, each)) for prompt, each in zip(prompts, merged, strict=True)
        ]
        max_rows = common.batch_size or DEFAULT_BATCH_SIZE
        for group in self._finished(self._decoder(groups, max_rows), groups, max_rows):
            if group.error is not None:
                raise group.error
        return [_completions(group) for group in groups]

    def complete_each(
        self,
        requests: Iterable[tuple[PromptLike, Options]],
        config: GenerationConfig | None = None,
        **overrides: Any,
    ) -> Iterator[tuple[int, list[Completion] | LLMBuilderError]]:
        """Continue any number of prompts, each with its own options, as rows come free.

        Args:
            requests: prompts and the options of each, over all that they have in common; read no faster than needed.
            config: options of all; its ``batch_size`` bounds the sequences decoded at once.
            overrides: as everywhere.

        Yields:
            The number of a request, from 0, and its completions, in the order in which they are done. A prompt that
            cannot be decoded gives its error and does not disturb the others.
        """
        common = self._merge(config, overrides)
        maker = self._open()
        numbers: dict[int, int] = {}
        refused: list[tuple[int, LLMBuilderError]] = []

        def groups() -> Iterator[Group]:
            for number, (prompt, options) in enumerate(requests):
                try:
                    merged = self._merge_own(config, overrides, options)
                    group = maker.group(maker.prepare(prompt, merged))
                except LLMBuilderError as error:
                    refused.append((number, error))
                else:
                    numbers[id(group)] = number
                    yield group

        max_rows = common.batch_size or DEFAULT_BATCH_SIZE
        decoder = self._engine.model.decoder(rows=max_rows)
        for group in self._finished(decoder, groups(), max_rows):
            yield numbers.pop(id(group)), group.error or _completions(group)
            while refused:
                yield refused.pop(0)
        yield from refused

    def score(self, text_or_ids: str | Sequence[int]) -> Score:
        """How likely the model finds a text.

        Raises:
            ContextOverflowError: more tokens than the window holds.
        """
        ids = self._open().encode(text_or_ids)
        if len(ids) > self._engine.context_length:
            raise ContextOverflowError(
                f"The text has {len(ids)} tokens, the model's window {self._engine.context_length}. Score it in parts."
            )
        logprobs: list[float] = []
        decoder = self._engine.model.decoder(capacity=len(ids))
        done = 0
        for size in chunk_sizes(len(ids), _SCORE_CHUNK):
            logits = decoder.prefill(0, ids[done : done + size], keep=size)
            following = ids[done + 1 : done + size + 1]
            logprobs += [
                token_logprobs(row, token, 0).logprob for row, token in zip(logits, following, strict=False)
            ]
            done += size
        perplexity = math.exp(-math.fsum(logprobs) / len(logprobs)) if logprobs else math.nan
        return Score(tuple(ids), tuple(logprobs), perplexity)

    def close(self) -> None:
        """Give the model back; it is unloaded when nobody uses it and newer ones have taken its place."""
        self._closed = True
        if self._lease is not None:
            self._lease.close()

    def _merge(self, *layers: Options) -> GenerationConfig:
        """Options of a call: its layers over the generator's own and the bundle's."""
        return GenerationConfig.merge(self._engine.defaults, self._config, *layers)

    def _merge_own(
        self, config: GenerationConfig | None, overrides: Mapping[str, Any], own: Options
    ) -> GenerationConfig:
        """Options of one prompt among several."""
        merged = self._merge(config, overrides, own)
        if "batch_size" in (own.given if isinstance(own, GenerationConfig) else own or ()):
            raise ConfigError("batch_size holds for all prompts together and cannot be an option of one.")
        return merged

    def _single(self, config: GenerationConfig | None, overrides: Mapping[str, Any]) -> GenerationConfig:
        """Options of a call that returns one text for a prompt."""
        merged = self._merge(config, overrides)
        if merged.num_return_sequences > 1:
            raise ConfigError(
                f"num_return_sequences={merged.num_return_sequences} has several results: "
                "call complete() or complete_batch(), which return them all."
            )
        return merged

    def _open(self) -> GroupMaker:
        """What makes groups, while this generator may be used."""
        if self._closed:
            raise ConfigError("This TextGenerator is closed. Make a new one.")
        return self._maker

    def _pieces(self, prompt: Prompt) -> Iterator[str]:
        group = self._maker.samples(prompt)
        (continuation,) = group.continuations
        if prompt.config.return_full_text:
            yield prompt.text
        for _ in decode(self._decoder([group], 1), [group], max_rows=1):
            if piece := continuation.stream.take():
                yield piece
        group.outcomes()

    def _finished(self, decoder: RowDecoder, groups: Iterable[Group], max_rows: int) -> Iterator[Group]:
        """Decode groups; yield each when it is done."""
        return (group for group in decode(decoder, groups, max_rows=max_rows) if group.width == 0)

    def _decoder(self, groups: Sequence[Group], max_rows: int) -> RowDecoder:
        longest = max(
            (len(g.prompt.ids) + min(g.prompt.max_new_tokens, _FIRST_CAPACITY) for g in groups), default=1
        )
        rows = min(max_rows, sum(group.width for group in groups))
        return self._engine.model.decoder(rows=max(rows, 1), capacity=longest)


def _completions(group: Group) -> list[Completion]:
    return [_completion(outcome) for outcome in group.outcomes()]


def _completion(outcome: Outcome) -> Completion:
    decoding = outcome.last_token - outcome.first_token
    return Completion(
        text=(outcome.prompt.text if outcome.prompt.config.return_full_text else "") + outcome.text,
        token_ids=outcome.token_ids,
        logprobs=None if outcome.prompt.config.logprobs is None else outcome.logprobs,
        finish_reason=outcome.finish_reason,
        prompt_tokens=len(outcome.prompt.ids),
        truncated_tokens=outcome.prompt.truncated_tokens,
        seconds_to_first_token=outcome.first_token - outcome.started,
        tokens_per_second=(len(outcome.token_ids) - 1) / decoding if decoding > 0 else 0.0,
    )
