"""Which tokens may extend which beams, and how good they are: the arithmetic of beam search, free of its state."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from llmbuilder import logits as rules
from llmbuilder.continuation import Prompt
from llmbuilder.logits import Positions, Scores
from llmbuilder.sampling import candidates, filters, inverse_cdf, process, processors


class Scored(NamedTuple):
    """A beam's possible next tokens: accumulated scores [n] and their ids [n] (None: every id in order)."""

    scores: Scores
    ids: Positions | None


class Candidate(NamedTuple):
    """A beam, a next token, and the score of both together."""

    score: float
    beam: int
    token: int


Scorer = Callable[[Scores, Sequence[int], float, Scores | None], Scored]
"""(logits [V], new ids of the beam, its score so far, penalty [V] of the tokens others chose) -> scored tokens."""


def make_scorer(prompt: Prompt, vocab_size: int) -> Scorer:
    """Compose the active rules into a function from a beam's logits to its scored tokens.

    The rules run on log-probabilities, the diversity penalty before all others, as in transformers 4.46.3.
    """
    config = prompt.config
    known = rules.as_ids(prompt.ids)
    steps = processors(config, prompt_ids=prompt.ids, eos_ids=prompt.eos_ids)
    kept = filters(config, min_tokens_to_keep=max(2, len(prompt.eos_ids) + 1)) if config.do_sample else ()

    def score(logits: Scores, new_ids: Sequence[int], so_far: float, penalty: Scores | None) -> Scored:
        scores = rules.log_softmax(logits[:vocab_size])
        if penalty is not None:
            scores = scores - penalty[: scores.size]
        if steps:
            scores = process(steps, scores, np.concatenate((known, rules.as_ids(new_ids))))
        ids = None
        if config.do_sample:
            ids, scores = candidates(scores, config.temperature, kept)
        return Scored(scores + np.float32(so_far), ids)

    return score


def diversity(chosen: Sequence[int], penalty: float, vocab_size: int) -> Scores | None:
    """What choosing each token costs [V]: ``penalty`` for every earlier choice of it in the same step."""
    if not chosen or not penalty:
        return None
    return (penalty * np.bincount(chosen, minlength=vocab_size)).astype(np.float32)


def best(scored: Sequence[Scored], count: int) -> list[Candidate]:
    """The ``count`` best possible candidates of all beams, best first; of equals the first beam's lowest id."""
    found = [
        Candidate(float(beam_scores[position]), beam, _token(ids, position))
        for beam, (beam_scores, ids) in enumerate(scored)
        for position in rules.largest(beam_scores, count)
        if beam_scores[position] > -np.inf
    ]
    return sorted(found, key=lambda candidate: -candidate.score)[:count]


def drawn(scored: Sequence[Scored], count: int, random: np.random.Generator) -> list[Candidate]:
    """``count`` candidates drawn without replacement from softmax over all beams' scores, best first."""
    scores = np.concatenate([beam_scores for beam_scores, _ in scored])
    ends = np.cumsum([beam_scores.size for beam_scores, _ in scored])
    remaining = scores.copy()
    picked = []
    for _ in range(min(count, int(np.isfinite(scores).sum()))):
        position = inverse_cdf(remaining, random.random())
        remaining[position] = -np.inf
        beam = int(ends.searchsorted(position, side="right"))
        start = int(ends[beam]) - scored[beam].scores.size
        picked.append(Candidate(float(scores[position]), beam, _token(scored[beam].ids, position - start)))
    return sorted(picked, key=lambda candidate: -candidate.score)


def _token(ids: Positions | None, position: int) -> int:
    return int(position) if ids is None else int(ids[position])
