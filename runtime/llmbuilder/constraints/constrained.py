"""`ConstrainedGenerator`: texts that say some words, do not say others, or match a grammar."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Unpack

from llmbuilder.checks import StrPath, check_texts, is_list, shown
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.constraints.grammar import KINDS, GrammarRules
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.constraints.words import WordRules
from llmbuilder.errors import ConfigError, ConstraintError
from llmbuilder.generator import (
    Completion,
    ConstrainedPrompt,
    Constraint,
    Device,
    Prompt,
    TextGenerator,
    named,
    opened,
)
from llmbuilder.overrides import GenerationOptions, LengthlessOptions

DEFAULT_MAX_LENGTH = 200
_MOST = {"required": 1_000, "forbidden": 100_000}
"""Words that a text can be made to say, or kept from saying, at once; and their characters."""
_MOST_CHARACTERS = 500_000
_CUTTING = ("stop_strings", "max_time")


class Requirement(Protocol):
    """What makes constraints, and judges a finished text."""

    def start(self, prompt: Prompt) -> Constraint:
        """Where continuations of a prompt begin."""
        ...

    def complaint(self, text: str) -> str | None:
        """What is wrong with a finished text."""
        ...


class ConstrainedGenerator(Closing):
    """Generates texts that meet a constraint, or raises `ConstraintError`.

    Required words are found as whole words, in any case, in the new text; so are forbidden ones, unless ``match`` says
    otherwise. Everything else, from strategy to seed, is as with `TextGenerator`.
    """

    def __init__(  # noqa: PLR0913 (the documented arguments)
        self,
        model_path: StrPath | TextGenerator,
        tokenizer_path: StrPath | None = None,
        *,
        required_words: Sequence[str] = (),
        forbidden_words: Sequence[str] = (),
        ordered: bool = False,
        match: Literal["word", "substring"] = "word",
        json_schema: Any = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        grammar: str | None = None,
        max_length: int | None = None,
        config: GenerationConfig | None = None,
        device: Device = "auto",
        threads: int | None = None,
        **overrides: Unpack[LengthlessOptions],
    ) -> None:
        """Open a model and compile a constraint for it.

        Args:
            model_path: as of `TextGenerator`, like tokenizer_path, device and threads; or a generator that is open
                already, which closing this closes.
            tokenizer_path: the tokenizer that the model must have.
            required_words: words and phrases that the text must say.
            forbidden_words: words and phrases that it must not say.
            ordered: the required ones come in their order.
            match: ``substring`` forbids the forbidden ones inside other words too.
            json_schema: the text is JSON of this schema: a mapping, or JSON.
            regex: the text matches this regular expression from its beginning to its end.
            choices: the text is one of these.
            grammar: the text matches this grammar, in the Lark form of llguidance.
            max_length: most new tokens; None: those of the config if it says, else 200.
            config: options for all calls.
            device: where it runs.
            threads: CPU threads.
            overrides: options by name, over those of config.

        Raises:
            ConstraintError: no text can meet the constraint; the message says why.
            ConfigError: contradicting arguments, or llguidance is missing.
        """
        words = {"required": required_words, "forbidden": forbidden_words}
        grammars = {"json_schema": json_schema, "regex": regex, "choices": choices, "grammar": grammar}
        self._options = _merged(config, max_length, overrides)
        with opened(model_path, tokenizer_path, device=device, threads=threads) as generator:
            self._generator = generator
            self._requirement = _make_requirement(generator, words, grammars, ordered=ordered, match=match)

    def __repr__(self) -> str:
        """Which model it constrains."""
        return named(self, self._generator)

    def generate(self, prompt: str, **overrides: Unpack[GenerationOptions]) -> str:
        """Continue ``prompt`` and return the text.

        Raises:
            ConstraintError: the text was ended before it met its constraint, or a stop string cut it there.
            ConfigError, ContextOverflowError: as `TextGenerator.generate`.
        """
        return self.generate_batch([prompt], **overrides)[0]

    def generate_batch(self, prompts: Sequence[str], **overrides: Unpack[GenerationOptions]) -> list[str]:
        """Continue each prompt; the texts are those of generating each alone.

        Raises:
            ConstraintError, ConfigError, ContextOverflowError: as `generate`; the first of any prompt ends all.
        """
        if not is_list(prompts):
            raise ConfigError(
                f"prompts must be a list of prompts, got {shown(prompts)}. Use generate() for one."
            )
        one_answer(GenerationConfig.merge(self._generator.config, self._merge(overrides)))
        return [completions[0].text for completions in self._complete(prompts, overrides)]

    def complete(self, prompt: str, **overrides: Unpack[GenerationOptions]) -> list[Completion]:
        """Continue a prompt ``num_return_sequences`` times and report everything about each continuation.

        Raises:
            ConstraintError, ConfigError, ContextOverflowError: as `generate`.
        """
        return self._complete([prompt], overrides)[0]

    def stream(self, prompt: str, **overrides: Unpack[GenerationOptions]) -> Iterator[str]:
        """Continue ``prompt``, yielding text as soon as it is certain. None of it is ever taken back.

        Raises:
            ConfigError: options that might cut the text where it does not meet its constraint yet.
        """
        options = self._merge(overrides)
        cutting = [name for name in _CUTTING if options.get(name) is not None]
        if cutting:
            raise ConfigError(
                f"{cutting[0]} may end a text before it meets its constraint, when it is shown already. Leave it out, "
                "or use generate()."
            )
        return self._generator.stream(self._constrained(prompt), **options)

    def close(self) -> None:
        """Give the model back."""
        self._generator.close()

    def _complete(self, prompts: Sequence[str], overrides: Mapping[str, Any]) -> list[list[Completion]]:
        constrained = [self._constrained(prompt) for prompt in prompts]
        options = self._merge(overrides)
        completed = self._generator.complete_batch(constrained, **options)
        full = options.get("return_full_text", self._generator.config.return_full_text)
        for prompt, completions in zip(prompts, completed, strict=True):
            for completion in completions:
                self._check(completion, len(prompt) if full else 0)
        return completed

    def _check(self, completion: Completion, start: int) -> None:
        """A stop string is cut off the text, which begins at ``start``, and perhaps half a word with it."""
        if completion.finish_reason != "stop":
            return
        complaint = self._requirement.complaint(completion.text[start:])
        if complaint is not None:
            raise ConstraintError(f"A stop string ended the text where {complaint}. Leave out stop_strings.")

    def _constrained(self, prompt: str) -> ConstrainedPrompt:
        return ConstrainedPrompt(prompt, self._requirement.start)

    def _merge(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a call; its max_length counts new tokens too."""
        length = {"max_new_tokens": overrides["max_length"]} if "max_length" in overrides else {}
        return {**self._options, **{k: v for k, v in overrides.items() if k != "max_length"}, **length}


def _merged(
    config: GenerationConfig | None, max_length: int | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    length = {} if max_length is None else {"max_new_tokens": max_length}
    return GenerationConfig.merge({"max_new_tokens": DEFAULT_MAX_LENGTH}, config, length, overrides).options()


def _make_requirement(
    generator: TextGenerator,
    words: dict[str, Sequence[str]],
    grammars: dict[str, Any],
    *,
    ordered: bool,
    match: str,
) -> Requirement:
    """Compile what was asked for, which must be of one kind."""
    if type(match) is not str or match not in ("word", "substring"):
        raise ConfigError(f"match must be 'word' or 'substring', got {shown(match)}.")
    if not isinstance(ordered, bool):
        raise ConfigError(f"ordered must be True or False, got {shown(ordered)}.")
    words = {name: _checked_words(f"{name}_words", given, _MOST[name]) for name, given in words.items()}
    kinds = [kind for kind in KINDS if grammars.get(kind) is not None]
    if len(kinds) > 1 or (kinds and any(words.values())):
        raise ConfigError(
            f"{' and '.join(kinds)} cannot be combined{' with words' if any(words.values()) else ''}: a grammar says "
            "by itself everything that a text may be. Put the words into the grammar."
        )
    vocabulary = Vocabulary(generator.tokenizer.pieces()[: generator.engine.usable_vocab])
    if kinds:
        return GrammarRules(vocabulary, kinds[0], grammars[kinds[0]])
    return WordRules(
        vocabulary,
        generator.tokenizer.encode,
        required=words["required"],
        forbidden=words["forbidden"],
        ordered=ordered,
        whole=match == "word",
    )


def _checked_words(name: str, given: Sequence[str], most: int) -> Sequence[str]:
    words = check_texts(name, given)
    size = sum(map(len, words))
    if len(words) > most or size > _MOST_CHARACTERS:
        raise ConfigError(
            f"{name} may be {most} words of {_MOST_CHARACTERS} characters in all, got {len(words)} of {size}. "
            "Give fewer."
        )
    return words
