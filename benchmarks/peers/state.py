"""How fast the machine is at this moment: it has slow and fast minutes, and only runs of one state are compared."""

import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

TOLERANCE = 0.15
"""Part by which two states may differ and still be called one."""

_BYTES = 128 << 20
_SIDE = 768
_TRIES = 9


class State(NamedTuple):
    """What was measured just now."""

    bandwidth: float
    """GB/s of copying memory on one core."""
    rate: float
    """GFLOP/s of float32 matrix products on all cores."""
    load: float
    """Busy threads on average over the last minute, ours included."""


def probe() -> State:
    """Measure, in about half a second on two cores."""
    source = np.ones(_BYTES // 8)
    target = np.empty_like(source)
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    bandwidth = 2 * _BYTES / 1e9 / _median_seconds(lambda: np.copyto(target, source))
    rate = 2 * _SIDE**3 / 1e9 / _median_seconds(lambda: matrix @ matrix)
    return State(round(bandwidth, 2), round(rate, 1), round(os.getloadavg()[0], 1))


def usual(states: Iterable[State]) -> State:
    """The middle of each measure."""
    middles = (round(statistics.median(values), 2) for values in zip(*states, strict=True))
    return State(*middles)


def alike(state: State, reference: State) -> bool:
    """Whether bandwidth and rate are those of the reference, within the tolerance; the load may differ."""
    pairs = ((state.bandwidth, reference.bandwidth), (state.rate, reference.rate))
    return all(abs(value / other - 1) <= TOLERANCE for value, other in pairs)


def _median_seconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(_TRIES):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)
