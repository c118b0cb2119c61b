"""The logits rules: pure functions on one row of scores, one for each documented parameter.

A row is a float32 array ``[V]`` indexed by token id, without NaN; -inf marks a forbidden token. No function writes
into its arguments; one that has nothing to do may return the row it was given. Ids outside a row, such as those of
a prompt that are not in the tokenizer's vocabulary, are ignored. There are two kinds:

* **Rules** can change which token is likeliest. They take a row and return a row.
* **Filters** only remove unlikely tokens. They take the scores ``[n]`` of any candidates, at least one of them
  finite, and return the ascending positions they keep. What a filter keeps is small, so whatever comes after it
  works on a few candidates instead of the whole vocabulary.

The formulas, skip conditions and ties are those of ``transformers`` 4.46.3, float32 comparisons included. Sums run
in float64, where they do not depend on how many removed tokens lie between.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llmbuilder.arrays import Ids, Positions, Scores

NEVER = np.float32(-np.inf)
_LOWEST = np.finfo(np.float32).min
_LARGEST = 1e38  # may be divided by 1 without overflow, with room for a rounded divisor
_LARGEST_GROWTH = 1e30  # keeps a boosted score inside float32, and finite when divided by a temperature
_FIRST_GUESS = 256  # tokens in which a filter by mass first looks for it
_COLUMNS = 1024  # enough for vectorized maxima
_TIE = 2.0**-20  # relative distance, some times that of float32 numbers
_TIE_OF_SUBNORMALS = 1e-44
_ROUNDING = 1e-6  # more than float32 probabilities of a row can miss in their sum


def logit_bias(scores: Scores, biases: Mapping[int, float]) -> Scores:
    """Add to each token's score its bias, if it has one."""
    ids = _inside(scores, as_ids(list(biases)))
    return _replaced(
        scores, ids, scores[ids] + np.array([biases[token] for token in ids.tolist()], np.float32)
    )


def count_penalties(scores: Scores, new_ids: Ids, presence: float, frequency: float) -> Scores:
    """Subtract ``presence + frequency * count`` from each token that is among the new ones [n] (OpenAI's formula)."""
    seen, counts = np.unique(_inside(scores, new_ids), return_counts=True)
    return _replaced(scores, seen, (scores[seen] - (presence + frequency * counts)).astype(np.float32))


def repetition_penalty(scores: Scores, ids: Ids, penalty: float) -> Scores:
    """Make every token of `ids` less likely, once however often it occurs (Keskar et al. 2019).

    Args:
        scores: Row of scores ``[V]``.
        ids: Prompt and new tokens ``[n]``.
        penalty: Above 0; positive scores are divided by it, negative ones multiplied.
    """
    seen = _inside(scores, ids)
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
    return _replaced(scores, _inside(scores, ids[size - 1 :][repeats]), NEVER)


def min_new_tokens(scores: Scores, eos_ids: Ids, new_tokens: int, minimum: int) -> Scores:
    """Forbid every EOS id while there are fewer than `minimum` new tokens."""
    return _replaced(scores, _inside(scores, eos_ids), NEVER) if new_tokens < minimum else scores


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
    eos_ids = _inside(scores, eos_ids)
    open_ids = eos_ids[np.isfinite(scores[eos_ids])]
    values = scores[open_ids]
    boosted = (values + np.abs(values) * np.float32(growth)).astype(np.float32)
    return _replaced(scores, open_ids, boosted)


def temperature(scores: Scores, value: float) -> Scores:
    """Divide by the temperature, above 0: below 1 sharpens the distribution, above 1 flattens it.

    Where a quotient overflows, the largest score is subtracted first, which changes no probability.
    """
    limit = _LARGEST * value
    if float(scores.max()) < limit and float(scores.min()) > -limit:
        return scores / np.float32(value)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled: Scores = scores / np.float32(value)
        if not math.isfinite(scaled.max()):
            scaled = ((scores.astype(np.float64) - scores.max()) / value).astype(np.float32)
    return scaled


def contenders(scores: Scores, k: int, temperature: float) -> Positions:
    """Ascending positions of all scores that `top_k` could keep after `temperature`, and perhaps of a few more.

    Dividing keeps the order, but its rounding can make scores equal that were not: those are among them. Where it
    overflows everything is.
    """
    if k >= scores.size:
        return np.arange(scores.size)
    bound = float(_lower_bound(scores, k))
    slack = abs(bound) * _TIE + temperature * _TIE_OF_SUBNORMALS
    near: Positions = (scores >= np.float32(bound - slack)).nonzero()[0]
    return near if float(scores[near].max()) < _LARGEST * temperature else np.arange(scores.size)


def top_k(scores: Scores, k: int, min_tokens_to_keep: int = 1) -> Positions:
    """Keep the `k` largest scores and all that tie with the last of them (Fan et al. 2018)."""
    k = max(k, min_tokens_to_keep)
    near = _near_top(scores, k)
    if near.size <= k:
        return near
    values = scores[near]
    rank = values.size - k
    kept: Positions = near[values >= np.partition(values, rank)[rank]]
    return kept


def top_p(scores: Scores, p: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep the smallest set of the likeliest tokens whose mass reaches `p` (Holtzman et al. 2020).

    Tokens are removed from the least likely upwards while their cumulative mass is at most ``1 - p``. Among equal
    scores the lower id is removed first: the order is that of a stable ascending sort.
    """
    likely = softmax(scores)
    near = _covering(scores, likely, p, min_tokens_to_keep)
    values, rising, below = scores, likely, 0.0
    if near.size < scores.size:
        values, rising = scores[near], likely[near]
        below = likely.sum(dtype=np.float64) - rising.sum(dtype=np.float64)
    rising.sort()
    mass = rising.cumsum(dtype=np.float64)
    mass += below
    mass = mass.astype(np.float32)
    removed = int(mass.searchsorted(np.float32(1 - p), side="right"))
    removed = max(min(removed, near.size - min_tokens_to_keep), 0)
    last = np.partition(values, removed)[removed]
    kept: Positions = near[values >= last]
    if excess := kept.size - (near.size - removed):
        kept = np.delete(kept, np.flatnonzero(scores[kept] == last)[:excess])
    return kept


def min_p(scores: Scores, p: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024)."""
    likely = softmax(scores)
    keep = likely >= np.float32(p) * likely.max()
    keep[largest(scores, min_tokens_to_keep)] = True
    return np.flatnonzero(keep)


def typical_p(scores: Scores, p: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep the tokens whose information content is nearest the entropy, until their mass reaches `p`.

    Locally typical sampling (Meister et al. 2023). All that are as near as the last of them are kept too.
    """
    likely = softmax(scores)
    logs = log_softmax(scores)
    closeness = -np.abs(logs + np.float32(_entropy(logs)))
    near = _covering(closeness, likely, p, min_tokens_to_keep)
    order = near[np.argsort(-closeness[near], kind="stable")]
    mass = likely[order].cumsum(dtype=np.float64).astype(np.float32)
    last = order[min(int(mass.searchsorted(np.float32(p))), order.size - 1)]
    keep = closeness >= closeness[last]
    keep[order[:min_tokens_to_keep]] = True
    return np.flatnonzero(keep)


def epsilon_cutoff(scores: Scores, epsilon: float, min_tokens_to_keep: int = 1) -> Positions:
    """Keep tokens of probability `epsilon` or more, and the largest scores (Hewitt et al. 2022)."""
    keep = softmax(scores) >= np.float32(epsilon)
    keep[top_k(scores, min_tokens_to_keep)] = True
    return np.flatnonzero(keep)


def eta_cutoff(scores: Scores, epsilon: float, min_tokens_to_keep: int = 1) -> Positions:
    """`epsilon_cutoff` at ``min(epsilon, sqrt(epsilon) * exp(-entropy))`` (Hewitt et al. 2022)."""
    relative = math.sqrt(epsilon) * math.exp(-_entropy(log_softmax(scores)))
    return epsilon_cutoff(scores, min(epsilon, relative), min_tokens_to_keep)


def softmax(scores: Scores) -> Scores:
    """Probabilities ``[n]`` in float32."""
    weights: Scores = scores - scores.max()
    np.exp(weights, out=weights)
    weights /= np.float32(weights.sum(dtype=np.float64))
    return weights


def log_softmax(scores: Scores) -> Scores:
    """Logarithms of the probabilities ``[n]`` in float32."""
    logs: Scores = scores - scores.max()
    logs -= np.float32(np.log(np.exp(logs).sum(dtype=np.float64)))
    return logs


def largest(scores: Scores, n: int) -> Positions:
    """Positions of the `n` largest scores, largest first, the lower position first among equals."""
    near = _near_top(scores, max(n, 1))
    return near[np.argsort(-scores[near], kind="stable")[:n]]


def as_ids(ids: Sequence[int]) -> Ids:
    """Token ids as an array ``[n]``."""
    return np.asarray(ids, dtype=np.int64)


def _entropy(logs: Scores) -> float:
    """Entropy in nats of a distribution given as logarithms."""
    terms = np.maximum(logs, _LOWEST)
    terms *= np.exp(logs)
    return -float(terms.sum(dtype=np.float64))


def _near_top(keys: Scores, count: int) -> Positions:
    """Ascending positions of the `count` largest keys, of all equal to the last of them, and perhaps of more."""
    if count >= keys.size:
        return np.arange(keys.size)
    return (keys >= _lower_bound(keys, count)).nonzero()[0]


def _lower_bound(keys: Scores, count: int) -> np.float32:
    """A key that at least `count` keys reach, with few others; there must be more than `count`.

    In a long row the keys are laid out in columns: the count-th largest of the column maxima cannot exceed the
    count-th largest key, since `count` columns hold one at least that large, and costs a fraction of a partition.
    """
    columns = max(4 * count, _COLUMNS)
    rows = keys.size // columns
    some = np.maximum.reduce(keys[: rows * columns].reshape(rows, columns)) if rows >= 4 else keys.copy()
    some.partition(some.size - count)
    bound: np.float32 = some[some.size - count]
    return bound


def _covering(keys: Scores, likely: Scores, share: float, at_least: int) -> Positions:
    """Ascending positions of the largest keys, ties included, whose probabilities reach `share` for certain."""
    count = max(at_least, _FIRST_GUESS)
    while (near := _near_top(keys, count)).size < keys.size:
        if likely[near].sum(dtype=np.float64) > share + _ROUNDING:
            break
        count *= 8
    return near


def _inside(scores: Scores, ids: Ids) -> Ids:
    return ids[ids < scores.size]


def _replaced(scores: Scores, ids: Ids, values: Scores | np.float32) -> Scores:
    if ids.size == 0:
        return scores
    row = scores.copy()
    row[ids] = values
    return row
