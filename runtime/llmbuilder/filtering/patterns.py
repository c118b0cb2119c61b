"""Regular expressions of users: those of `re`, with a limit to their time.

The standard library cannot stop a search, of which some take longer than anyone lives. The module ``regex`` can; see
`llmbuilder.filtering.respelling` for what it makes of a pattern.
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import regex

from llmbuilder.checks import shown
from llmbuilder.errors import ConfigError
from llmbuilder.filtering.clock import Clock
from llmbuilder.filtering.respelling import flags_of, parse, respell

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_LARGEST = 20_000
"""Parts of a pattern with its repetitions written out, as ``regex`` does; each takes about a kilobyte."""
_LONGEST = 100_000


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> "regex.Pattern[str]":
    """Compile a pattern of `re`, upper and lower case alike.

    Raises:
        ConfigError: it is none, or one that is too large to be held in memory.
    """
    if len(pattern) > _LONGEST:
        raise _too_large(pattern)
    try:
        re.compile(pattern, re.IGNORECASE)
        parsed = parse(pattern)
        if _size(parsed) > _LARGEST:
            raise _too_large(pattern)
        return regex.compile(respell(parsed), regex.VERSION0 | flags_of(parsed))
    except (re.error, regex.error, OverflowError, RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"banned_patterns: {shown(pattern)} is not a regular expression: {error}. "
            "Correct it; to find a text as it is, use re.escape."
        ) from error


def _too_large(pattern: str) -> ConfigError:
    return ConfigError(
        f"banned_patterns: {shown(pattern)} is larger, or repeats more, than can be held in memory. "
        "Write it shorter, repeat fewer times, or make several of it."
    )


def matches(pattern: str, text: str, clock: Clock) -> bool:
    """Whether ``pattern`` matches anywhere in ``text``.

    Raises:
        ConfigError: there is no time left to tell.
    """
    what = f"banned_patterns: {shown(pattern)}"
    # Its timeout counts what all threads compute together, our clock this thread only.
    for threads in (1, os.cpu_count() or 1):
        try:
            return compile_pattern(pattern).search(text, timeout=clock.left(what) * threads) is not None
        except TimeoutError:
            continue
        except MemoryError:
            break
    raise clock.over(what)


def _size(parsed: Any) -> int:
    """How many parts a pattern has with its repetitions written out."""
    size = 0
    for operation, argument in parsed:
        inside = max(1, sum(map(_size, _parts(argument))))
        size += inside * (argument[0] + 1) if str(operation) in _REPEATS else inside
    return size


def _parts(argument: Any) -> Iterator[Any]:
    """The patterns inside an operation."""
    if hasattr(argument, "state"):  # a parsed pattern
        yield argument
    elif isinstance(argument, list | tuple):
        for each in argument:
            yield from _parts(each)
