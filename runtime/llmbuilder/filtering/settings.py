"""The settings of a filter, checked when made."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from llmbuilder.errors import ConfigError
from llmbuilder.filtering.backtracking import repeats_repetition
from llmbuilder.filtering.scripts import SCRIPTS

MOST_PATTERNS = 100
LONGEST_PATTERN = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterSettings:
    """What a text must satisfy; what is absent is not checked."""

    min_length: int | None = None
    """Least number of characters, white space at both ends not counted."""
    max_length: int | None = None
    """Most characters, counted likewise."""
    max_repetition: float | None = None
    """Largest share of repeated 4-grams of words, 0..1."""
    coherence_threshold: float | None = None
    """Least coherence, 0..1; a text too short to judge passes."""
    profanity_filter: bool = False
    """Mask profane words with asterisks. Never rejects."""
    personal_data: bool | Literal["mask"] = False
    """Reject texts with e-mail addresses, phone, card or account numbers, IP addresses; ``"mask"`` masks them."""
    banned_patterns: tuple[str, ...] = ()
    """Regular expressions (of `re`, upper and lower case alike) none of which may match anywhere."""
    allowed_scripts: tuple[str, ...] = ()
    """Scripts that letters may be of, such as ``latin``; none: any."""
    factuality_check: bool = False
    """Reject texts that contradict themselves, arithmetic, the calendar or the prompt."""

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Self:
        """Check what a user gave.

        Raises:
            ConfigError: an unknown key, a wrong type, a value out of range, or limits that exclude each other.
        """
        if not isinstance(config, Mapping):
            raise ConfigError(f"A filter's config must be a dict of settings, got {type(config).__name__}.")
        for name in config:
            if name not in _RULES:
                raise ConfigError(f"Unknown filter setting {name!r}.{_hint(name)}")
        for name, value in config.items():
            holds, expected = _RULES[name]
            if not holds(value):
                raise ConfigError(f"Filter setting {name} must be {expected}, got {value!r}.")
        settings = cls(**{name: _as_tuple(name, value) for name, value in config.items()})
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if self.min_length and self.max_length is not None and self.min_length > self.max_length:
            raise ConfigError(
                f"min_length={self.min_length} exceeds max_length={self.max_length}: no text passes. Change one."
            )
        for pattern in self.banned_patterns:
            _check_pattern(pattern)


def _hint(name: object) -> str:
    close = difflib.get_close_matches(str(name), _RULES, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known ones: {', '.join(_RULES)}."


def _as_tuple(name: str, value: Any) -> Any:
    if name not in ("banned_patterns", "allowed_scripts"):
        return value
    many = (value,) if isinstance(value, str) else tuple(value)
    return many if name == "banned_patterns" else tuple(script.lower() for script in many)


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
        endless = repeats_repetition(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"banned_patterns: {pattern!r} is not a regular expression: {error}.") from error
    if endless:
        raise ConfigError(
            f"banned_patterns: {pattern!r} repeats a repetition, which can take forever. "
            "Write it without a repetition inside a repeated group."
        )


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _are_patterns(value: object) -> bool:
    many: Any = (value,) if isinstance(value, str) else value
    return (
        isinstance(many, list | tuple)
        and len(many) <= MOST_PATTERNS
        and all(isinstance(p, str) and 0 < len(p) <= LONGEST_PATTERN for p in many)
    )


def _are_scripts(value: object) -> bool:
    many = (value,) if isinstance(value, str) else value
    return isinstance(many, list | tuple) and all(isinstance(s, str) and s.lower() in SCRIPTS for s in many)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_LENGTH = (_is_length, "a whole number of at least 0")
_SHARE = (_is_share, "a number from 0 to 1")
_BOOL = (_is_bool, "True or False")

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "min_length": _LENGTH,
    "max_length": _LENGTH,
    "max_repetition": _SHARE,
    "coherence_threshold": _SHARE,
    "profanity_filter": _BOOL,
    "personal_data": (lambda v: isinstance(v, bool) or v == "mask", "True, False or 'mask'"),
    "banned_patterns": (
        _are_patterns,
        f"a list of at most {MOST_PATTERNS} regular expressions of 1 to {LONGEST_PATTERN} characters",
    ),
    "allowed_scripts": (_are_scripts, f"a list of scripts among {', '.join(sorted(SCRIPTS))}"),
    "factuality_check": _BOOL,
}

assert set(_RULES) == {field.name for field in fields(FilterSettings)}  # noqa: S101 (the two lists are one)
