"""`ConstrainedGenerator`: texts that say some words, do not say others, or match a grammar."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack

from llmbuilder.checks import StrPath, check_texts, is_list, is_many, shown
from llmbuilder.cleanup import Closing
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.constraints.grammar import KINDS, GrammarRules
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.constraints.words import WordRules
from llmbuilder.errors import ConfigError
from llmbuilder.generator import (
    Answer,
    Completion,
    ConstrainedPrompt,
    Constraint,
    Device,
    Engine,
    Options,
    Prompt,
    PromptLike,
    TextGenerator,
    named,
    opened,
)
from llmbuilder.overrides import GenerationOptions, LengthlessOptions

DEFAULT_MAX_LENGTH = 200
_MOST = {"required_words": 1_000, "forbidden_words": 100_000}
"""Words that a text can be made to say, or kept from saying, at once; and their characters."""
_MOST_CHARACTERS = 500_000
_CUTTING = ("stop_strings", "max_time")


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
        words = {
            "required_words": _checked_words("required_words", required_words),
            "forbidden_words": _checked_words("forbidden_words", forbidden_words),
        }
        grammars = {"json_schema": json_schema, "regex": regex, "choices": choices, "grammar": grammar}
        self._options = _merged(config, max_length, overrides)
        with opened(model_path, tokenizer_path, device=device, threads=threads) as generator:
            self._generator = generator
            self._start = _make_start(generator, words, grammars, ordered=ordered, match=match)
        how = {"ordered": ordered or None, "match": None if match == "word" else match}
        given = {name: said or None for name, said in words.items()} | grammars | how
        self._form = {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        """Which model it constrains."""
        return named(self, self._generator)

    @property
    def engine(self) -> Engine:
        """The model with its tokenizer."""
        return self._generator.engine

    @property
    def config(self) -> GenerationConfig:
        """The options of a call that names none."""
        return GenerationConfig.merge(self._generator.config, self._options)

    @property
    def form(self) -> Mapping[str, Any]:
        """The constraint, as the arguments that made it."""
        return self._form

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
        options = self._merge(overrides)
        one_answer(GenerationConfig.merge(self._generator.config, options))
        completed = self._generator.complete_batch(list(map(self._constrained, prompts)), **options)
        return [completion.text for (completion,) in completed]

    def complete(self, prompt: str, **overrides: Unpack[GenerationOptions]) -> list[Completion]:
        """Continue a prompt ``num_return_sequences`` times and report everything about each continuation.

        Raises:
            ConstraintError, ConfigError, ContextOverflowError: as `generate`.
        """
        return self._generator.complete(self._constrained(prompt), **self._merge(overrides))

    def complete_each(
        self,
        requests: Iterable[tuple[PromptLike, Options] | None],
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> Iterator[tuple[int, Answer]]:
        """Continue any number of prompts, each with its own options, as rows come free.

        Args:
            requests: as of `TextGenerator.complete_each`; ``max_length`` among the options of one counts new tokens.
            config: options of all, over this generator's; its ``batch_size`` bounds the sequences decoded at once.
            overrides: as everywhere.

        Yields:
            The number of a request, from 0, and its completions, in the order in which they are done. A prompt whose
            text cannot meet the constraint gives its `ConstraintError`, and does not disturb the others.

        Raises:
            ConfigError: common options that cannot be used.
        """
        # What cannot be gone through, or is no request, is told by whom it is passed to.
        asked = map(self._request, requests) if is_many(requests) else requests
        return self._generator.complete_each(asked, **self._merge(overrides, config))

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

    def _constrained(self, prompt: Any) -> ConstrainedPrompt:
        return ConstrainedPrompt(prompt, self._start)

    def _request(self, request: Any) -> Any:
        if not is_list(request) or len(request) != 2:
            return request
        prompt, own = request
        return self._constrained(prompt), _in_new_tokens(own) if isinstance(own, Mapping) else own

    def _merge(self, overrides: Mapping[str, Any], config: GenerationConfig | None = None) -> dict[str, Any]:
        """Options of a call over those of all."""
        return {**self._options, **GenerationConfig.merge(config).options(), **_in_new_tokens(overrides)}


def _in_new_tokens(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, of which max_length counts new tokens as that of the generator does."""
    length = {"max_new_tokens": options["max_length"]} if "max_length" in options else {}
    return {**{name: value for name, value in options.items() if name != "max_length"}, **length}


def _merged(
    config: GenerationConfig | None, max_length: int | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    length = {} if max_length is None else {"max_new_tokens": max_length}
    return GenerationConfig.merge({"max_new_tokens": DEFAULT_MAX_LENGTH}, config, length, overrides).options()


def _make_start(
    generator: TextGenerator,
    words: dict[str, tuple[str, ...]],
    grammars: dict[str, Any],
    *,
    ordered: bool,
    match: str,
) -> Callable[[Prompt], Constraint]:
    """Compile what was asked for, which must be of one kind; return what begins a prompt's constraint."""
    if type(match) is not str or match not in ("word", "substring"):
        raise ConfigError(f"match must be 'word' or 'substring', got {shown(match)}.")
    if not isinstance(ordered, bool):
        raise ConfigError(f"ordered must be True or False, got {shown(ordered)}.")
    kinds = [kind for kind in KINDS if grammars.get(kind) is not None]
    if len(kinds) > 1 or (kinds and any(words.values())):
        raise ConfigError(
            f"{' and '.join(kinds)} cannot be combined{' with words' if any(words.values()) else ''}: a grammar says "
            "by itself everything that a text may be. Put the words into the grammar."
        )
    vocabulary = Vocabulary(generator.tokenizer.pieces()[: generator.engine.usable_vocab])
    if kinds:
        return GrammarRules(vocabulary, kinds[0], grammars[kinds[0]]).start
    return WordRules(
        vocabulary,
        generator.tokenizer.encode,
        required=words["required_words"],
        forbidden=words["forbidden_words"],
        ordered=ordered,
        whole=match == "word",
    ).start


def _checked_words(name: str, given: Sequence[str]) -> tuple[str, ...]:
    words, most = check_texts(name, given), _MOST[name]
    size = sum(map(len, words))
    if len(words) > most or size > _MOST_CHARACTERS:
        raise ConfigError(
            f"{name} may be {most} words of {_MOST_CHARACTERS} characters in all, got {len(words)} of {size}. "
            "Give fewer."
        )
    return words
