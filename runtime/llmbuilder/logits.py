"""The logits rules: pure functions on one row of scores, one for each documented parameter.

A row is a float32 array ``[V]`` indexed by token id, without NaN; -inf marks a forbidden token. No function writes
into its arguments; one that has nothing to do may return the row it was given. There are two kinds:

* **Rules** can change which token is likeliest. They take a row and return a row.
* **Filters** only remove unlikely tokens. They take the scores ``[n]`` of any candidates, at least one of them
  finite, and return the ascending positions they keep. What a filter keeps is small, so whatever comes after it
  works on a few candidates instead of the whole vocabulary. ``only`` turns positions back into a row.

The formulas, skip conditions and ties are those of ``transformers`` 4.46.3, float32 comparisons included. Sums run
in float64, where they do not depend on how many removed tokens lie between.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]

NEVER = np.float32(-np.inf)
_LARGEST_GROWTH = 1e30  # keeps a boosted score inside float32, and finite when divided by a temperature


def repetition_penalty(scores: Scores, ids: Ids, penalty: float) -> Scores:
    """Make every token of `ids` less likely, once however often it occurs (Keskar et al. 2019).

    Args:
        scores: Row of scores ``[V]``.
        ids: Prompt and new tokens ``[n]``; ids outside the row are ignored.
        penalty: Above 0; positive scores are divided by it, negative ones multiplied.
    """
    seen = ids[ids < scores.size]
    values = scores[seen]
    factor = np.float32(penalty)
    return _replaced(scores, seen, np.where(values < 0, values * factor, values / factor))


def encoder_repetition_penalty(scores: Scores, prompt_ids: Ids, penalty: float) -> Scores:
    """Make every token of the prompt likelier: `repetition_penalty` with the reciprocal."""
    return repetition_penalty(scores, prompt_ids, 1 / penalty)


def no_repeat_ngram(scores: Scores, ids: Ids, size: int) -> Scores:
    """Forbid each token that would complete an n-gram which `ids` already contains (Paulus et al. 2017).

    Args:
        scores: Row of scores ``[V]``.
        ids: Prompt and new tokens ``[n]``.
        size: Length of the n-grams, at least 1; 1 forbids every token of `ids`.
    """
    count = ids.size - size + 1
    if count < 1:
        return scores
    repeats = np.ones(count, dtype=np.bool_)
    for offset, token in enumerate(ids[count:]):
        repeats &= ids[offset : offset + count] == token
    banned = ids[size - 1 :][repeats]
    return _replaced(scores, banned[banned < scores.size], NEVER)


def min_new_tokens(scores: Scores, eos_ids: Ids, new_tokens: int, minimum: int) -> Scores:
    """Forbid every EOS id while there are fewer than `minimum` new tokens."""
    return _replaced(scores, eos_ids, NEVER) if new_tokens < minimum else scores


def exponential_decay_length_penalty(
    scores: Scores, eos_ids: Ids, new_tokens: int, start: int, factor: float
) -> Scores:
    """Add ``|score| * (factor ** (new_tokens - start) - 1)`` to each EOS id after `start` new tokens.

    A forbidden EOS stays forbidden (in ``transformers`` 4.46.3 it becomes NaN), and growth ends at 1e30 instead of
    overflowing.
    """
    if new_tokens <= start:
        return scores
    with np.errstate(over="ignore"):
        growth = min(float(np.float64(factor) ** (new_tokens - start)) - 1, _LARGEST_GROWTH)
    open_ids = eos_ids[np.isfinite(scores[eos_ids])]
    values = scores[open_ids]
    boosted: Scores = values + np.abs(values) * np.float32(growth)
    return _replaced(scores, open_ids, boosted)


def temperature(scores: Scores, value: float) -> Scores:
    """Divide by the temperature, above 0: below 1 sharpens the distribution, above 1 flattens it.

    Where a quotient overflows, the largest score is subtracted first, which changes no probability.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = scores / np.float32(value)
        if not np.isfinite(scaled.max()):
            scaled = ((scores.astype(np.float64) - scores.max()) / value).astype(np.float32)
    return scaled


def top_k(scores: Scores, k: int, min_tokens_to_keep: int = 1) -> Positions:
    """Keep the `k` largest scores and all that tie with the last of them (Fan et al. 2018)."""
    return np.flatnonzero(scores >= _kth_largest(scores, max(k, min_tokens_to_keep)))


def top_p(scores: Scores, p: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep the smallest set of the likeliest tokens whose mass reaches `p` (Holtzman et al. 2020).

    Tokens are removed from the least likely upwards while their cumulative mass is at most ``1 - p``. Among equal
    scores the lower id is removed first (a stable ascending sort).
    """
    order = np.argsort(scores, kind="stable")
    mass = softmax(scores)[order].cumsum(dtype=np.float64).astype(np.float32)
    removed = min(int(np.count_nonzero(mass <= np.float32(1 - p))), scores.size - min_tokens_to_keep)
    return np.sort(order[max(removed, 0) :])


def min_p(scores: Scores, p: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024)."""
    likely = softmax(scores)
    keep = likely >= np.float32(p) * likely.max()
    keep[largest(scores, min_tokens_to_keep)] = True
    return np.flatnonzero(keep)


def typical_p(scores: Scores, p: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep the tokens whose information content is nearest the entropy, until their mass reaches `p`.

    Locally typical sampling (Meister et al. 2023). All that tie with the last kept token are kept.
    """
    information = -log_softmax(scores)
    with np.errstate(invalid="ignore"):
        distance = np.abs(information - np.float32(entropy(scores)))
    order = np.argsort(distance, kind="stable")
    mass = softmax(scores)[order].cumsum(dtype=np.float64).astype(np.float32)
    last = min(int(np.count_nonzero(mass < np.float32(p))), scores.size - 1)
    keep = distance <= distance[order[last]]
    keep[order[:min_tokens_to_keep]] = True
    return np.flatnonzero(keep)


def epsilon_cutoff(scores: Scores, epsilon: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep tokens of probability `epsilon` or more, and the largest scores (Hewitt et al. 2022)."""
    keep = softmax(scores) >= np.float32(epsilon)
    return np.flatnonzero(keep | (scores >= _kth_largest(scores, min_tokens_to_keep)))


def eta_cutoff(scores: Scores, epsilon: float, min_tokens_to_keep: int = 1) -> Positions:
    """`epsilon_cutoff` at ``min(epsilon, sqrt(epsilon) * exp(-entropy))`` (Hewitt et al. 2022)."""
    limit = min(epsilon, float(np.sqrt(epsilon) * np.exp(-entropy(scores))))
    return epsilon_cutoff(scores, limit, min_tokens_to_keep)


def softmax(scores: Scores) -> Scores:
    """Probabilities ``[n]`` in float32."""
    weights = np.exp(scores - scores.max())
    probabilities: Scores = weights / np.float32(weights.sum(dtype=np.float64))
    return probabilities


def log_softmax(scores: Scores) -> Scores:
    """Logarithms of the probabilities ``[n]`` in float32."""
    shifted = scores - scores.max()
    logs: Scores = shifted - np.float32(np.log(np.exp(shifted).sum(dtype=np.float64)))
    return logs


def entropy(scores: Scores) -> float:
    """Entropy of the distribution in nats."""
    logs = log_softmax(scores)
    possible = logs > NEVER
    return -float((np.exp(logs[possible]) * logs[possible]).sum(dtype=np.float64))


def only(scores: Scores, kept: Positions) -> Scores:
    """The row with everything but the positions `kept` forbidden."""
    row = np.full_like(scores, NEVER)
    row[kept] = scores[kept]
    return row


def largest(scores: Scores, n: int) -> Positions:
    """Positions of the `n` largest scores, largest first, lower position first among equals."""
    if n == 0:
        return np.empty(0, dtype=np.intp)
    near = top_k(scores, n)
    return near[np.argsort(-scores[near], kind="stable")][:n]


def as_ids(ids: Sequence[int]) -> Ids:
    """Token ids as an array ``[n]``."""
    return np.asarray(ids, dtype=np.int64)


def _kth_largest(scores: Scores, k: int) -> np.float32:
    """The k-th largest score; the smallest if there are fewer."""
    rank = max(scores.size - k, 0)
    value: np.float32 = np.partition(scores, rank)[rank]
    return value


def _replaced(scores: Scores, ids: Ids, values: Scores | np.float32) -> Scores:
    if ids.size == 0:
        return scores
    row = scores.copy()
    row[ids] = values
    return row
