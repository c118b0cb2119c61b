"""Ranges of options: what makes them, and those of `GenerationConfig`."""

import math
import re
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

from llmbuilder.checks import is_whole

_ID = re.compile(r"[0-9]{1,18}")


def plain(value: Any) -> Any:
    """Lists as tuples, numbers of NumPy as Python's, which cannot overflow."""
    if isinstance(value, list | tuple):
        return tuple(map(_number_of_python, value))
    return _number_of_python(value)


def _number_of_python(value: Any) -> Any:
    return value.item() if getattr(value, "ndim", None) == 0 else value


def one_or_many(value: Any) -> Any:
    """As `plain`; a text by itself is a list of one."""
    return (value,) if isinstance(value, str) else plain(value)


class Range(NamedTuple):
    """The values that an option may have. ``text`` goes on after "must be"."""

    holds: Callable[[Any], bool]
    text: str
    read: Callable[[Any], Any] = plain
    """What is made of a value before it is looked at."""


def is_real(value: object, holds: Callable[[float], bool]) -> bool:
    """Whether a value is a finite number, no bool, that as a float satisfies ``holds``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:  # a whole number that no float holds
        return False
    return math.isfinite(number) and holds(number)


def whole(least: int, most: int | None = None) -> Range:
    """Whole numbers from ``least`` on, up to ``most`` if there is such a bound."""
    if most is not None:
        return Range(
            lambda value: is_whole(value, least) and int(value) <= most,
            f"a whole number from {least} to {most}",
        )
    return Range(lambda value: is_whole(value, least), f"a whole number of at least {least}")


def number(holds: Callable[[float], bool], text: str) -> Range:
    """Numbers that satisfy ``holds``, which ``text`` puts in words."""
    return Range(lambda value: is_real(value, holds), f"a number {text}")


def by_token(most: float) -> Range:
    """Dicts from token ids to numbers from ``-most`` to ``most``. In JSON ids are texts."""

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {
            int(i) if isinstance(i, str) and _ID.fullmatch(i) else plain(i): plain(n)
            for i, n in value.items()
        }

    def holds(value: object) -> bool:
        return isinstance(value, dict) and all(
            is_whole(token, 0) and is_real(number, lambda n: abs(n) <= most)
            for token, number in value.items()
        )

    return Range(holds, f"a dict from token ids, at least 0, to numbers from {-most:g} to {most:g}", read)


_MOST_CHARACTERS = 500_000  # of stop strings; each takes some 350 bytes while they are looked for
_MOST_ROWS = 1024  # of one prompt; memory may allow fewer
_MOST_TOKENS = 10**9  # more than any text has, and a number that arrays and floats hold
_MOST_LOGPROBS = 1000  # of the likeliest, each about 100 bytes for each token
_MOST_IDS = 1024


def _are_ids(value: object) -> bool:
    many = value if isinstance(value, tuple) else (value,)
    return 0 < len(many) <= _MOST_IDS and all(is_whole(token, 0) for token in many)


def _is_decay(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and is_whole(value[0], 0)
        and int(value[0]) <= _MOST_TOKENS
        and is_real(value[1], lambda factor: factor > 0)
    )


def _are_strings(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and all(isinstance(text, str) and text for text in value)
        and sum(map(len, value)) <= _MOST_CHARACTERS
    )


COUNT = whole(1, _MOST_TOKENS)
FROM_0 = whole(0, _MOST_TOKENS)
SEED = whole(0)
LOGPROBS = whole(0, _MOST_LOGPROBS)
ROWS = whole(1, _MOST_ROWS)
POSITIVE = number(lambda v: v > 0, "above 0")
FACTOR = number(lambda v: 1e-30 <= v <= 1e30, "above 0 (1e-30 to 1e30)")  # of logits in float32
TEMPERATURE = FACTOR._replace(
    text="a number above 0 (1e-30 to 1e30); for greedy decoding set do_sample=False"
)
SHARE = number(lambda v: 0 < v <= 1, "above 0 and at most 1")
CUTOFF = number(lambda v: 0 <= v < 1, "from 0 up to, but not including, 1")
PENALTY = number(lambda v: v >= 0, "of at least 0")
POWER = number(lambda v: abs(v) <= 30, "from -30 to 30")
TOKEN = whole(0)._replace(text="a token id, at least 0")
IDS = Range(_are_ids, f"a token id, at least 0, or a list of 1 to {_MOST_IDS} of them")
DECAY = Range(
    _is_decay, f"a pair (start, factor) of a whole number from 0 to {_MOST_TOKENS} and a number above 0"
)
TWO = number(lambda v: abs(v) <= 2, "from -2 to 2")
BIASES = by_token(100)
STRINGS = Range(
    _are_strings,
    f"a non-empty string or a list of them, of {_MOST_CHARACTERS} characters at most in all",
    read=one_or_many,
)
