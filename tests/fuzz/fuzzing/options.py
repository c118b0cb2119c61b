"""Options of generation and of filters with odd values."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing.changes import odd_value
from fuzzing.targets import DifferenceError
from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.filtering.settings import FilterSettings


class _Odd:
    """Something that is like nothing."""

    def __repr__(self) -> str:
        """Raise, as an object of a caller may."""
        raise RuntimeError("no repr")


_ODD_OBJECTS = (
    np.int64(3), np.float32(0.5), np.float64("nan"), np.array([1, 2]), np.array(1), np.bool_(1), Decimal("0.5"),
    Fraction(1, 2), b"x", bytearray(b"x"), {1, 2}, frozenset(), range(3), range(1 << 62), 1j, object(), int, _Odd(),
    iter(()), memoryview(b"ab"), (1,), ((1, 2), (3,)), ("a", "b"), {"a": 1}, [[1], [2, 3]], [["a"]], np.array(["a"]),
)  # fmt: skip
_USUAL = (0, 1, 2, 5, 0.1, 0.5, 1.5, True, False, None, "x", ["x"], [1], [[1, 2]], [1, 1.5], {1: 0.5})
_FILTERS = tuple(FilterSettings.__dataclass_fields__)


class Configurations:
    """Options of generation by name, and of a filter."""

    def __init__(self, folder: Path) -> None:
        """Ask for the names of all options."""
        self._names = list(generation_options())

    def make(self, random: Random) -> tuple[bool, dict[str, Any]]:
        """Whether they are those of generation, and the options."""
        generation = random.random() < 0.8
        names = random.choices(self._names if generation else _FILTERS, k=random.choice((1, 1, 2, 3)))
        if random.random() < 0.03:
            names.append(random.choice(("", "temperatur", "a" * 1000, "\x1b", "\ud800")))
        return generation, {name: _value(random) for name in names}

    def run(self, made: tuple[bool, dict[str, Any]]) -> None:
        """Make options of them; merged once more they must stay the same."""
        generation, values = made
        if not generation:
            FilterSettings.from_mapping(values)
            return
        config = GenerationConfig.merge(values)
        again = GenerationConfig.merge(GenerationConfig(), config)
        if again != config:
            raise DifferenceError(f"{config} is {again} when merged")


def _value(random: Random) -> Any:
    kind = random.random()
    if kind < 0.35:
        return random.choice(_USUAL)
    return random.choice(_ODD_OBJECTS) if kind < 0.6 else odd_value(random)
