"""Which tokens may extend which beams, and how good they are: the arithmetic of beam search, free of its state."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from llmbuilder.arrays import Positions, Scores
from llmbuilder.decoding import logits as rules
from llmbuilder.decoding.drawing import candidates, filters
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.sampling import check_row, forced_end, likeliest, process, processors


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

    The rules run on log-probabilities, the diversity penalty before all others, as in transformers 4.46.3. A beam
    for which they forbid every token can only end, at no cost.
    """
    config = prompt.config
    prompt_ids = rules.as_ids(prompt.ids)
    steps = processors(config, prompt_ids=prompt.ids, eos_ids=prompt.eos_ids)
    kept = filters(config, min_tokens_to_keep=max(2, len(prompt.eos_ids) + 1)) if config.do_sample else ()

    def score(logits: Scores, new_ids: Sequence[int], so_far: float, penalty: Scores | None) -> Scored:
        check_row(logits[:vocab_size])
        scores = rules.log_softmax(logits[:vocab_size])
        if penalty is not None:
            scores = scores - penalty[: scores.size]
        if steps:
            scores = process(steps, scores, np.concatenate((prompt_ids, rules.as_ids(new_ids))))
        if likeliest(scores) is None:
            return Scored(np.array([so_far], np.float32), rules.as_ids([forced_end(prompt.eos_ids)]))
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


def best(scored: Sequence[Scored], count: int) -> Iterator[Candidate]:
    """The possible candidates of all beams, best first; of equals the first beam's lowest id.

    Found ``count`` at first, and more only where somebody asks for more.
    """
    return _descending(scored, [beam.scores for beam in scored], count)


def drawn(scored: Sequence[Scored], count: int, random: "np.random.Generator") -> Iterator[Candidate]:
    """Candidates drawn without replacement from softmax over all beams' scores.

    The first ``count`` come best first, any more in the order in which they are drawn. Going by scores with Gumbel
    noise added is such a draw (Kool et al. 2019).
    """
    draw = _descending(scored, [beam.scores + _gumbel(beam.scores.size, random) for beam in scored], count)
    yield from sorted(islice(draw, count), key=lambda candidate: -candidate.score)
    yield from draw


def _gumbel(size: int, random: "np.random.Generator") -> Scores:
    """Standard Gumbel noise [size], many times faster than NumPy's own."""
    return -np.log(random.standard_exponential(size).astype(np.float32))


def _descending(scored: Sequence[Scored], keys: Sequence[Scores], count: int) -> Iterator[Candidate]:
    """The possible candidates by their keys, largest first; looked for ``count`` at first, then twice as many."""
    seen = 0
    while len(best := _largest(scored, keys, count)) > seen:
        yield from best[seen:]
        seen, count = len(best), 2 * count


def _largest(scored: Sequence[Scored], keys: Sequence[Scores], count: int) -> list[Candidate]:
    """The possible candidates with the ``count`` largest keys, those of all beams taken together."""
    together = np.concatenate(keys)
    ends = np.cumsum([beam_keys.size for beam_keys in keys])
    chosen = []
    for position in rules.largest(together, count):
        if together[position] > -np.inf:
            beam = int(ends.searchsorted(position, side="right"))
            scores, ids = scored[beam]
            place = int(position - ends[beam])  # counted from the end
            token = scores.size + place if ids is None else int(ids[place])
            chosen.append(Candidate(float(scores[place]), beam, token))
    return chosen
