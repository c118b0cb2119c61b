"""What JSON leaves open, refused: a key twice in one object, numbers that are none, and such as no float holds.

Hooks for `json.loads`; each raises a ValueError that says what is wrong.
"""

import math
from itertools import pairwise
from typing import Any, NoReturn

from llmbuilder.checks import shown


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a list of pairs (an ``object_pairs_hook``), whose keys must all differ."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = sorted(name for name, _ in pairs)
        twin = next(a for a, b in pairwise(names) if a == b)
        raise ValueError(f"the key {shown(twin)} stands there twice")
    return content


def finite(number: str) -> float:
    """A number that is not too large (a ``parse_float``)."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{shown(number)} is too large a number")
    return value


def no_constant(name: str) -> NoReturn:
    """Refuse NaN and infinities (a ``parse_constant``)."""
    raise ValueError(f"{name} is no number of JSON")
