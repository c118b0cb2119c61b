"""How likely a model finds a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmbuilder.decoding.rows import RowDecoder, chunk_sizes
from llmbuilder.decoding.sampling import TokenLogprobs, token_logprobs

CHUNK = 128
"""Tokens whose rows of logits are held at once."""


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a model finds a text: n ids, the n-1 log-probabilities (nats) of all but the first, perplexity.

    ``top`` has the likeliest tokens at each of the n-1 places, each with its log-probability, if they were asked for.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    perplexity: float
    top: tuple[tuple[tuple[int, float], ...], ...] = ()


def score(decoder: RowDecoder, ids: Sequence[int], top: int = 0) -> Score:
    """Score ids in a fresh row of ``decoder``; the perplexity of fewer than two is nan."""
    found: list[TokenLogprobs] = []
    done = 0
    for size in chunk_sizes(len(ids), CHUNK):
        logits = decoder.prefill(0, ids[done : done + size], keep=size)
        following = ids[done + 1 : done + size + 1]
        found += [token_logprobs(row, token, top) for row, token in zip(logits, following, strict=False)]
        done += size
    logprobs = [each.logprob for each in found]
    perplexity = math.exp(-math.fsum(logprobs) / len(logprobs)) if logprobs else math.nan
    return Score(tuple(ids), tuple(logprobs), perplexity, tuple(each.top for each in found) if top else ())
