"""How likely a model finds a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmbuilder.decoding.loop import OpenDecoder
from llmbuilder.decoding.rows import chunk_sizes
from llmbuilder.decoding.sampling import TokenLogprobs, token_logprobs
from llmbuilder.errors import ContextOverflowError

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


def score(open_decoder: OpenDecoder, ids: Sequence[int], top: int, *, window: int) -> Score:
    """Score ids, at most ``window`` of them, in a decoder of their own; the perplexity of fewer than two is nan.

    Raises:
        ContextOverflowError: more ids than that.
    """
    if len(ids) > window:
        raise ContextOverflowError(
            f"The text has {len(ids)} tokens, the model's window {window}. Score it in parts."
        )
    decoder = open_decoder(rows=1, capacity=len(ids), max_rows=0)
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
