"""Where the marks of a plot stand: an axis that spans what is shown, and places on it in per cent."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_MOST_TICKS = 6
_MARGIN = 0.04
"""Of the width, left free on either side."""


class Axis(NamedTuple):
    """A linear axis."""

    low: float
    high: float
    ticks: tuple[float, ...]
    decimals: int

    def at(self, value: float) -> float:
        """The place of a value, in per cent of the width."""
        return round(100 * (_MARGIN + (1 - 2 * _MARGIN) * (value - self.low) / (self.high - self.low)), 2)

    def written(self, tick: float) -> str:
        """A tick as its label."""
        return f"{tick:.{self.decimals}f}"


def axis_of(values: Sequence[float]) -> Axis:
    """An axis from the tick below the least value to that above the greatest; of none, or one value, around it."""
    known = [value for value in values if not math.isnan(value)] or [0.5]
    low, high = min(known), max(known)
    if high - low < 1e-3:
        low, high = low - 0.05, high + 0.05
    step = _step(high - low)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, max(0, -math.floor(math.log10(step))))


def _step(span: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that cuts a span into few enough parts."""
    power = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= _MOST_TICKS)
