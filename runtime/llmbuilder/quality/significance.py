"""Intervals and tests for samples of any distribution."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmbuilder.arrays import DoubleArray

RESAMPLES = 2000
CONFIDENCE = 0.95


def bootstrap_interval(values: Sequence[float], random: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean (Efron, 1979); (nan, nan) of no values."""
    if not values:
        return float("nan"), float("nan")
    drawn = random.choice(np.asarray(values), (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def pairs_interval(distances: DoubleArray, random: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over pairs of different members; (nan, nan) of less than two.

    A member that is drawn twice is not compared with itself, whose distance of 0 would pull all means down.

    Args:
        distances: between all members, [n, n].
        random: draws the members.
    """
    count = len(distances)
    if count < 2:
        return float("nan"), float("nan")
    drawn = random.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    pairs = drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)
    total = np.einsum("ri,ij,rj->r", drawn, distances, drawn, optimize=True)
    means = total[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def difference_of_means(a: Sequence[float], b: Sequence[float], random: np.random.Generator) -> float:
    """p-value of a two-sided permutation test (Fisher, 1935) that two samples have equal means; 1.0 if one is empty."""
    if not a or not b:
        return 1.0
    pooled = np.concatenate([a, b])
    drawn = random.permuted(np.tile(pooled, (RESAMPLES, 1)), axis=1)
    differences = drawn[:, : len(a)].mean(axis=1) - drawn[:, len(a) :].mean(axis=1)
    return _p_value(abs(float(np.mean(a) - np.mean(b))), np.abs(differences))


def difference_within(distances: DoubleArray, first: int, random: np.random.Generator) -> float:
    """p-value of a permutation test that two groups are equally spread.

    Args:
        distances: between all members of both groups, [n, n].
        first: size of the first group, whose members come first; each group needs two members.
        random: draws the permutations.
    """
    count = len(distances)
    if first < 2 or count - first < 2:
        return 1.0
    groups = np.arange(count) < first
    drawn = random.permuted(np.tile(groups, (RESAMPLES, 1)), axis=1)
    differences = _mean_within(distances, drawn) - _mean_within(distances, ~drawn)
    (observed,) = _mean_within(distances, groups[None]) - _mean_within(distances, ~groups[None])
    return _p_value(abs(float(observed)), np.abs(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979), in the order given."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[number] * (len(p_values) - rank)))
        corrected[number] = largest
    return corrected


def _mean_within(distances: DoubleArray, members: NDArray[np.bool_]) -> DoubleArray:
    """Mean distance between different members, for each row of memberships [rows, n]."""
    inside = members.astype(np.float64)
    size = inside.sum(axis=1)
    total = np.einsum("ri,ij,rj->r", inside, distances, inside, optimize=True)
    mean: DoubleArray = total / (size * (size - 1))
    return mean


def _p_value(observed: float, drawn: DoubleArray) -> float:
    """Share of draws at least as large, the observed arrangement counted as one of them; equal up to rounding."""
    return float((np.count_nonzero(drawn >= observed - 1e-12) + 1) / (len(drawn) + 1))
