"""The settings of a filter, checked when made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from llmbuilder.checks import shown
from llmbuilder.errors import ConfigError
from llmbuilder.filtering.patterns import compile_pattern
from llmbuilder.filtering.scripts import SCRIPTS
from llmbuilder.options import check_options, refuse_unknown
from llmbuilder.ranges import Range, number, one_or_many, whole

MOST_PATTERNS = 100
LONGEST_PATTERN = 500


def _are_patterns(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= MOST_PATTERNS
        and all(isinstance(pattern, str) and 0 < len(pattern) <= LONGEST_PATTERN for pattern in value)
    )


def _are_scripts(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(script, str) and script.lower() in SCRIPTS for script in value
    )


_LENGTH = whole(0)
_SHARE = number(lambda v: 0 <= v <= 1, "from 0 to 1")
_PATTERNS = Range(
    _are_patterns,
    f"a list of at most {MOST_PATTERNS} regular expressions of 1 to {LONGEST_PATTERN} characters",
    read=one_or_many,
)
_SCRIPTS = Range(_are_scripts, f"a list of scripts among {', '.join(sorted(SCRIPTS))}", read=one_or_many)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterSettings:
    """What a text must satisfy; what is absent is not checked."""

    min_length: Annotated[int, _LENGTH] | None = None
    """Least number of characters, white space at both ends not counted."""
    max_length: Annotated[int, _LENGTH] | None = None
    """Most characters, counted likewise."""
    max_repetition: Annotated[float, _SHARE] | None = None
    """Largest share of repeated 4-grams of words, 0..1."""
    coherence_threshold: Annotated[float, _SHARE] | None = None
    """Least coherence, 0..1; a text too short to judge passes."""
    profanity_filter: bool = False
    """Mask profane words with asterisks. Never rejects."""
    personal_data: bool | Literal["mask"] = False
    """Reject texts with e-mail addresses, phone, card or account numbers, IP addresses; ``"mask"`` masks them."""
    banned_patterns: Annotated[tuple[str, ...], _PATTERNS] = ()
    """Regular expressions (of `re`, upper and lower case alike) none of which may match anywhere."""
    allowed_scripts: Annotated[tuple[str, ...], _SCRIPTS] = ()
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
            raise ConfigError(
                f"A filter's config must be a dict of settings, such as {{'min_length': 20}}, got {shown(config)}."
            )
        refuse_unknown(cls, config, "filter setting")
        return cls(**config)

    def __post_init__(self) -> None:
        """Check each setting, then all together."""
        check_options(self, "Filter setting ")
        object.__setattr__(self, "allowed_scripts", tuple(map(str.lower, self.allowed_scripts)))
        if self.min_length and self.max_length is not None and self.min_length > self.max_length:
            raise ConfigError(
                f"min_length={self.min_length} exceeds max_length={self.max_length}: no text passes. Change one."
            )
        for pattern in self.banned_patterns:
            compile_pattern(pattern)
