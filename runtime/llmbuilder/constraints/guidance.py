"""llguidance (https://github.com/guidance-ai/llguidance) as this package uses it; its failures are errors of ours."""

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from llmbuilder.checks import check_texts, shown
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.errors import ConfigError, ConstraintError, translated

MOST_CHARACTERS = 100_000
"""Of a definition; all choices together. llguidance takes minutes and gigabytes over much more."""
_FUEL = 250_000
"""Steps that llguidance may take to see whether what a part of a definition says can ever end. Beyond, the part says
nothing. Its own bound, four times this, takes seconds for a few characters such as (a{1000}){1000}."""
JSON_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""How JSON is written; a schema inside a grammar has it as its ``x-guidance``."""
_KNOWN = 4
"""Sets of ends for which a vocabulary is kept as llguidance wants it: megabytes, and a fraction of a second to make."""


_failing = translated(ConstraintError, "llguidance failed", "Write the constraint simpler, or report this.")


class Matcher:
    """llguidance's state in a text. It has its own errors, see `is_error`; what it raises is a `ConstraintError`."""

    def __init__(self, matcher: Any) -> None:
        """Ask an ``LLMatcher``."""
        self._matcher = matcher

    def deep_copy(self) -> "Matcher":
        """Another one in the same state."""
        with _failing:
            return Matcher(self._matcher.deep_copy())

    def consume_token(self, token: int) -> bool:
        """Go on; whether the token fits."""
        with _failing:
            return bool(self._matcher.consume_token(token))

    def consume_tokens(self, tokens: list[int]) -> bool:
        """Go on; whether the tokens fit."""
        with _failing:
            return bool(self._matcher.consume_tokens(tokens))

    def compute_bitmask(self) -> bytes:
        """Which tokens may come next, a bit for each."""
        with _failing:
            return bytes(self._matcher.compute_bitmask())

    def compute_ff_bytes(self) -> bytes:
        """What must come next."""
        with _failing:
            return bytes(self._matcher.compute_ff_bytes())

    def is_accepting(self) -> bool:
        """Whether the text may end."""
        with _failing:
            return bool(self._matcher.is_accepting())

    def is_stopped(self) -> bool:
        """Whether nothing may come any more."""
        with _failing:
            return bool(self._matcher.is_stopped())

    def is_error(self) -> bool:
        """Whether it has failed; it never leaves that state."""
        with _failing:
            return bool(self._matcher.is_error())

    def get_error(self) -> str:
        """How it has failed."""
        with _failing:
            return str(self._matcher.get_error()).strip()


class Guidance:
    """Compiles definitions and makes matchers for one vocabulary."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Self:
        """That of a vocabulary, which keeps it.

        Raises:
            ConfigError: the library is not installed.
        """
        if vocabulary.guidance is None:
            vocabulary.guidance = cls(vocabulary)
        kept: Self = vocabulary.guidance
        return kept

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Load the library.

        Raises:
            ConfigError: it is not installed.
        """
        self._vocabulary = vocabulary
        self.tokenizer = functools.lru_cache(_KNOWN)(self._make_tokenizer)
        """The vocabulary as a matcher needs it, by what ends a text."""
        try:
            self._library = importlib.import_module("llguidance")
        except ImportError as error:
            from llmbuilder.distribution import install_line

            raise ConfigError(
                f"json_schema, regex, choices and grammar need llguidance. Run: {install_line('constraints')}"
            ) from error

    def compile(self, kind: str, definition: Any) -> str:
        """A definition as a grammar of llguidance's.

        Raises:
            ConstraintError: it is wrong, too long, or not supported.
        """
        matcher = self._library.LLMatcher
        with translated(ConstraintError, f"The {kind} is not valid", "Correct it there."):
            if kind == "json_schema":
                source = matcher.grammar_from_json_schema(
                    _bounded(kind, _schema(definition)), overrides=JSON_FORM
                )
            elif kind == "regex":
                source = matcher.grammar_from_regex(_bounded(kind, definition))
            elif kind == "choices":
                source = choices_grammar(definition)
            else:
                source = matcher.grammar_from_lark(_bounded(kind, definition))
            failed, messages = matcher.validate_grammar_with_warnings(source)
        if failed:
            raise ConstraintError(
                f"The {kind} is not valid, or not supported: {messages[0].strip()} Correct it there."
            )
        return str(source)

    def _make_tokenizer(self, eos_ids: tuple[int, ...]) -> Any:
        pieces = self._vocabulary.pieces
        with _failing:
            wrapper = self._library.TokenizerWrapper(_Pieces(self._vocabulary, eos_ids[0]))
            return self._library.LLTokenizer(wrapper, n_vocab=len(pieces), eos_token=list(eos_ids), slices=[])

    def matcher(self, tokenizer: Any, source: str) -> Matcher:
        """At the beginning of a text."""
        with _failing:
            limits = self._library.LLParserLimits(initial_lexer_fuel=_FUEL)
            return Matcher(self._library.LLMatcher(tokenizer, source, log_level=0, limits=limits))


def checked_choices(definition: Any) -> tuple[str, ...]:
    """The texts of which one is wanted.

    Raises:
        ConstraintError: not a list of texts that say something, or too long a one.
        ConfigError: a text with half a character.
    """
    choices = () if isinstance(definition, str) else check_texts("choices", definition)
    if not choices or not all(choices):
        raise ConstraintError(
            f"choices must be a list of texts, none of them empty, got {shown(definition)}."
        )
    if sum(map(len, choices)) > MOST_CHARACTERS:
        raise ConstraintError(
            f"choices may have {MOST_CHARACTERS} characters in all, got {sum(map(len, choices))}. Give fewer."
        )
    return choices


def choices_grammar(choices: Sequence[str]) -> str:
    """A grammar that says one of some texts."""
    return "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def _bounded(kind: str, definition: Any) -> Any:
    if isinstance(definition, str) and len(definition) > MOST_CHARACTERS:
        raise ConstraintError(
            f"A {kind} may have {MOST_CHARACTERS} characters, got {len(definition)}. Write it shorter."
        )
    return definition


def _schema(definition: Any) -> str:
    if isinstance(definition, Mapping):
        return json.dumps(definition)
    if isinstance(definition, str):
        return definition
    raise ConstraintError(f"json_schema must be a mapping or its JSON text, got {type(definition).__name__}.")


class _Pieces:
    """The vocabulary as llguidance asks for it."""

    def __init__(self, vocabulary: Vocabulary, eos_id: int) -> None:
        self.eos_token_id = eos_id
        self.bos_token_id = None
        self.tokens = list(vocabulary.pieces)
        self.special_token_ids = [token for token, piece in enumerate(vocabulary.pieces) if not piece]
        self._vocabulary = vocabulary

    def __call__(self, text: bytes) -> list[int]:
        return list(self._vocabulary.spell(text) or ())
