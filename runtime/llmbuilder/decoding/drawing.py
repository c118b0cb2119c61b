"""Steps 8 to 15 of `llmbuilder.decoding.sampling`: which tokens remain possible, and the draw among them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmbuilder.arrays import Ids, Positions, Scores
from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import logits as rules
from llmbuilder.decoding.remote import RemoteRow

_BLOCK = 256  # tokens whose weights are summed together before one is looked up


@dataclass(frozen=True, slots=True)
class Filter:
    """One of steps 9 to 14, which keeps at least ``min_tokens_to_keep`` tokens."""

    keep: Callable[..., Positions]
    value: float
    min_tokens_to_keep: int

    def __call__(self, scores: Scores) -> Positions:
        """Scores of the candidates ``[n]`` -> positions kept, ascending."""
        return self.keep(scores, self.value, self.min_tokens_to_keep)


def filters(config: GenerationConfig, min_tokens_to_keep: int = 1) -> tuple[Filter, ...]:
    """The active ones of steps 9 to 14.

    Args:
        config: The parameters.
        min_tokens_to_keep: Each filter keeps at least this many tokens: 1, but with beams one more than there
            are EOS ids, so that a beam can always go on.
    """
    steps: tuple[tuple[bool, Callable[..., Positions], float | None], ...] = (
        (bool(config.top_k), rules.top_k, config.top_k),
        (config.top_p is not None and config.top_p < 1, rules.top_p, config.top_p),
        (config.min_p is not None, rules.min_p, config.min_p),
        (config.typical_p is not None and config.typical_p < 1, rules.typical_p, config.typical_p),
        (config.epsilon_cutoff > 0, rules.epsilon_cutoff, config.epsilon_cutoff),
        (config.eta_cutoff > 0, rules.eta_cutoff, config.eta_cutoff),
    )
    return tuple(Filter(keep, value, min_tokens_to_keep) for active, keep, value in steps if active and value)


def candidates(
    scores: Scores, temperature: float, steps: Sequence[Filter]
) -> tuple[Positions | None, Scores]:
    """Steps 8 to 14 on scores [V]: the ids [n] still possible, ascending (None: every one), and their scores [n]."""
    ids: Positions | None = None
    if steps and steps[0].keep is rules.top_k:  # spares the temperature all others
        ids = rules.contenders(scores, max(int(steps[0].value), steps[0].min_tokens_to_keep), temperature)
        scores = scores[ids]
    if temperature != 1.0:
        scores = rules.temperature(scores, temperature)
    for keep in steps:
        kept = keep(scores)
        if kept.size < scores.size:
            scores = scores[kept]
            ids = kept if ids is None else ids[kept]
    return ids, scores


def inverse_cdf(scores: Scores, uniform: float) -> int:
    """The position at which the cumulative distribution of softmax(scores) first exceeds `uniform`, in [0, 1).

    It is looked up among the sums of blocks, then inside one, and always has a probability above zero.
    """
    weights = scores - scores.max()
    np.exp(weights, out=weights)
    if weights.size <= _BLOCK:
        cumulative = weights.cumsum(dtype=np.float64)
        return int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))
    sums = np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK), dtype=np.float64).cumsum()
    target = uniform * sums[-1]  # below the sum for every float64 below 1
    block = int(sums.searchsorted(target, side="right"))
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    before = sums[block - 1] if block else 0.0
    position = int(inside.cumsum(dtype=np.float64).searchsorted(target - before, side="right"))
    # A block's sum may exceed its last cumulative sum by rounding.
    return block * _BLOCK + min(position, int(inside.nonzero()[0][-1]))


def random_numbers(seed: int | None, sequence_index: int) -> "np.random.Generator":
    """Random numbers of one sequence; without a seed different ones every time.

    The bit generator is named because NumPy's default may change, and a seed's text should not.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(sequence_index,))))


class Draw:
    """Steps 8 to 15 of one sequence, with its random numbers."""

    def __init__(self, config: GenerationConfig, sequence_index: int) -> None:
        """Begin the sequence with this number among those returned for its prompt."""
        self._temperature = config.temperature
        self._filters = filters(config)
        self._random = random_numbers(config.seed, sequence_index)

    def __call__(self, scores: Scores) -> int:
        """Draw from scores [V]."""
        ids, remaining = candidates(scores, self._temperature, self._filters)
        return self._drawn(remaining, ids)

    def among_largest(self, row: RemoteRow, vocab_size: int) -> int | None:
        """Draw from what a device tells of a row; None, with no number drawn, if the whole row might answer otherwise.

        It might unless top_k leaves out some of the scores told: then it leaves out all that were not told.
        """
        if not self._filters or self._filters[0].keep is not rules.top_k:
            return None
        found = row.largest()
        if found is None or int(found[0][-1]) >= vocab_size:
            return None
        ids, scores = found
        rank = scores.size - int(self._filters[0].value)
        if rank < 1:
            return None
        with np.errstate(over="ignore"):
            rising = np.sort(scores) / np.float32(self._temperature)
        if not rising[0] < rising[rank] or not math.isfinite(rising[-1]):
            return None
        kept, remaining = candidates(scores, self._temperature, self._filters)
        return self._drawn(remaining, ids if kept is None else ids[kept])

    def _drawn(self, scores: Scores, ids: Ids | Positions | None) -> int:
        position = inverse_cdf(scores, self._random.random())
        return position if ids is None else int(ids[position])
