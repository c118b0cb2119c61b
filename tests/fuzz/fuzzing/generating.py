"""Constraints on a model that says anything, and filters of texts."""

import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing.changes import ODD_TEXTS, changed_value
from fuzzing.targets import DifferenceError
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.filtering import OutputFilter
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import BYTE_VOCAB, fake_engine

_WORDS = ("fox", "the fox", "a", "é", "🙂", "don't", "x-y", "  ", "Fox", "foxes", "A.B.", *ODD_TEXTS)
_REGEX = ("a", "b+", "[a-z]*", "\\d{1,3}", "(?:", "(", ")", "|", "?", "{2,}", "{99999}", ".", "^", "$", "\\b", "[", "]",
          "\\w+", "é", "(a+)+", "(a|a)*", "\\p{L}", "{0}", "&", "~", "\\", "(?i)", "(?=a)", "\\1", "(.*)*")  # fmt: skip
_SCHEMAS: tuple[Any, ...] = (
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
     "required": ["name"]},
    {"type": "array", "items": {"enum": ["a", 1, None]}, "minItems": 1, "maxItems": 3},
    {"anyOf": [{"const": "x"}, {"type": "number", "minimum": 0, "maximum": 9}]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
)  # fmt: skip
_GRAMMARS = (
    'start: "a" | b\nb: /[0-9]+/ "x"*\n',
    'start: (WORD " ")+\nWORD: /[a-z]{1,5}/\n%ignore "\\n"\n',
    'start: start "a" | "b"\n',
)
_SETTINGS: dict[str, Any] = {
    "min_length": 2, "max_length": 50, "max_repetition": 0.5, "coherence_threshold": 0.1, "profanity_filter": True,
    "personal_data": "mask", "banned_patterns": ["fo+x", r"\d{3}"], "allowed_scripts": ["latin"],
    "factuality_check": True,
}  # fmt: skip
_PARTS = ("The fox ran. ", "shit ", "s h i t ", "12.3.2001 ", "+49 171 1234567 ", "a@b.de ", "2 + 2 = 5. ", "1,1",
          "ﷺ", "He is 5. He is 6. ", "\n", "((((", "я", "🙂", "4111 1111 1111 1111", "25:61", "a", "1",
          " ", "\0")  # fmt: skip


class Constraints:
    """Constraints of every kind, with odd definitions."""

    def __init__(self, folder: Path) -> None:
        """Make a model whose next token follows from those before."""

        def rule(ids: Any) -> Any:
            return (
                np.random.default_rng(sum(ids) * 31 + len(ids)).standard_normal(BYTE_VOCAB).astype(np.float32)
            )

        self._engine = fake_engine(rule)

    def make(self, random: Random) -> dict[str, Any]:
        """Arguments of a constrained generator."""
        kind = random.choice(("words", "words", "json_schema", "regex", "regex", "choices", "grammar"))
        if kind == "words":
            return {
                "required_words": random.choices(_WORDS, k=random.randrange(3)),
                "forbidden_words": random.choices(_WORDS, k=random.randrange(3)),
                "ordered": random.random() < 0.5,
                "match": random.choice(("word", "substring")),
            }
        if kind == "regex":
            return {kind: "".join(random.choices(_REGEX, k=random.randrange(1, 7)))}
        if kind == "choices":
            return {kind: random.choices((*_WORDS, "yes", "yesterday"), k=random.randrange(4))}
        if kind == "json_schema":
            return {kind: changed_value(random.choice(_SCHEMAS), random)}
        return {
            kind: _changed_text(random.choice(_GRAMMARS), (*_REGEX, "start", ":", "/", '"', "\n"), random)
        }

    def run(self, made: dict[str, Any]) -> None:
        """Generate a little; words must be, or not be, in what comes."""
        generator = TextGenerator.from_engine(self._engine)
        text = ConstrainedGenerator(generator, max_length=20, **made).generate("a", return_full_text=False)
        if "choices" in made and text not in made["choices"]:
            raise DifferenceError(f"{text!r} is none of the choices")


class Filters:
    """Texts and settings of filters."""

    def __init__(self, folder: Path) -> None:
        """Nothing to prepare."""

    def make(self, random: Random) -> tuple[str, Any]:
        """A text, and what to look for."""
        names = random.sample(list(_SETTINGS), random.randrange(1, 4))
        settings: Any = {name: _SETTINGS[name] for name in names}
        if random.random() < 0.4:
            settings = changed_value(settings, random)
        elif "banned_patterns" in settings:
            settings["banned_patterns"] = ["".join(random.choices(_REGEX, k=random.randrange(1, 6)))]
        parts = random.choices((*_PARTS, *ODD_TEXTS), k=random.choice((1, 3, 10)))
        return "".join(parts) * random.choice((1, 1, 1, 20)), settings

    def run(self, made: tuple[str, Any]) -> None:
        """Filter; a banned pattern must be found exactly where `re` finds it."""
        text, settings = made
        report = OutputFilter.check(text, settings)
        patterns = settings.get("banned_patterns") or ()
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if (
                _is_quick(pattern)
                and len(text) < 200
                and bool(re.search(pattern, text, re.IGNORECASE))
                != any(repr(pattern) in failure for failure in report.failures)
            ):
                raise DifferenceError(f"re reads {pattern!r} otherwise in {text!r}")


def _is_quick(pattern: str) -> bool:
    """Whether it surely does not take `re` for ever."""
    return sum(pattern.count(sign) for sign in "*+{") < 2


def _changed_text(text: str, parts: tuple[str, ...], random: Random) -> str:
    for _ in range(random.randrange(3)):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(parts) + text[at + random.randrange(4) :]
    return text
