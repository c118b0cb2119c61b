"""Regular expressions that can take forever."""

import importlib
from collections.abc import Iterator
from typing import Any

# What `re` itself reads patterns with; not among the typed modules.
_parser = importlib.import_module("re._parser")
_BACKTRACKING = ("MAX_REPEAT", "MIN_REPEAT")
_ATOMIC = ("ASSERT", "ASSERT_NOT", "ATOMIC_GROUP", "POSSESSIVE_REPEAT")
_MANY = 10


def repeats_repetition(pattern: str) -> bool:
    """Whether a repetition of varying length is itself repeated, as in ``(a+)+``, each more than ten times.

    Where the text does not match, such a pattern is tried in all ways of sharing it out among the repetitions, whose
    number is exponential in its length. Patterns can be slow for other reasons, which are not looked for.
    """
    return _repeats_repetition(_parser.parse(pattern), repeated=False)


def _repeats_repetition(parsed: Any, *, repeated: bool) -> bool:
    for operation, argument in parsed:
        name = str(operation)
        long = name in _BACKTRACKING and argument[1] > _MANY
        if long and repeated and argument[0] != argument[1]:
            return True
        # What an atomic part has matched is never shared out anew.
        inside = long or (repeated and name not in _ATOMIC)
        if any(_repeats_repetition(part, repeated=inside) for part in _parts(argument)):
            return True
    return False


def _parts(argument: Any) -> Iterator[Any]:
    """The patterns inside an operation."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for each in argument:
            yield from _parts(each)
