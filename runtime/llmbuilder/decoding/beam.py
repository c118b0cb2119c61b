"""Beam search, beam sampling and diverse beam search, as one more `Group` for the decoding loop.

The rules are those of ``transformers`` 4.46.3 (its ``generation/beam_search.py``); the diverse kind is Vijayakumar et
al.'s (2018). Two differences, on purpose: a stop string finishes the beam it occurs in, as EOS does, and sampled
candidates are drawn with this package's own random numbers.

`Search` is one group of beams and decides; `BeamGroup` feeds it and gathers the results.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.completion import Completion, FinishReason, Piece, Times
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.decoding.continuation import TextStream, check_cut, check_met
from llmbuilder.decoding.drawing import random_numbers
from llmbuilder.decoding.group import Group, Move
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.ranking import Candidate, Scorer, best, diversity, drawn
from llmbuilder.decoding.remote import LogitRow, whole
from llmbuilder.decoding.sampling import TokenLogprobs, token_logprobs
from llmbuilder.errors import LLMBuilderError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Beam:
    """A hypothesis. ``score`` sums the (processed) log-probabilities of its tokens."""

    score: float
    stream: TextStream
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A hypothesis that has ended, with its score divided by length to the power of the length penalty."""

    score: float
    beam: Beam
    reason: FinishReason


@dataclass(slots=True)
class Search:
    """The beams of one group and the best hypotheses it has finished, at most ``size`` of each."""

    prompt: Prompt
    size: int
    beams: list[Beam]
    finished: list[Finished] = field(default_factory=list)
    done: bool = False

    def take(self, ranked: Iterable[Candidate], rows: Sequence[FloatArray]) -> list[int]:
        """Extend the best candidates, as many as it takes until each beam has one that goes on.

        Args:
            ranked: candidates, best first.
            rows: raw logits [V] of each beam.

        Returns:
            For each of the new beams, the beam it extends.
        """
        beams: list[Beam] = []
        sources = []
        leader = -math.inf
        for rank, candidate in enumerate(ranked):
            leader = max(leader, candidate.score)
            beam, reason = self._extend(candidate, rows[candidate.beam])
            if reason is None:
                beams.append(beam)
                sources.append(candidate.beam)
            elif rank < self.size:
                self._finish(beam, reason)
            if len(beams) == self.size:
                break
        length = len(self.beams[0].ids) + 1
        self.beams = beams
        self.done = not beams or self._cannot_improve(leader, length)
        return sources

    def close(self, reason: FinishReason) -> None:
        """Finish all beams as they are, unless the search is over already."""
        if not self.done:
            for beam in self.beams:
                self._finish(beam, reason)
        self.done = True

    def _extend(self, candidate: Candidate, row: FloatArray) -> tuple[Beam, FinishReason | None]:
        """The beam with one more token, and why it ends there, if it does."""
        parent, wanted = self.beams[candidate.beam], self.prompt.config.logprobs
        logprobs = parent.logprobs
        if wanted is not None:
            logprobs += (token_logprobs(row, candidate.token, wanted),)
        stream = parent.stream.branch()
        constraint = parent.constraint
        if constraint is not None:
            constraint = constraint.advance(candidate.token)
        beam = Beam(candidate.score, stream, (*parent.ids, candidate.token), logprobs, constraint)
        if candidate.token in self.prompt.eos_ids:
            return beam, "eos"
        return beam, "stop" if stream.push(candidate.token) else None

    def _finish(self, beam: Beam, reason: FinishReason) -> None:
        """Keep a finished hypothesis if it is among the best and meets its constraint.

        Held-back text is released, as in `Continuation`.
        """
        if beam.constraint is not None and beam.constraint.missing() is not None:
            return
        if reason != "stop" and beam.stream.finish():
            reason = "stop"
        score = beam.score / max(1, len(beam.ids)) ** self.prompt.config.length_penalty
        if len(self.finished) == self.size:
            worst = min(self.finished, key=lambda finished: finished.score)
            if score <= worst.score:
                return
            self.finished.remove(worst)
        self.finished.append(Finished(score, beam, reason))

    def _cannot_improve(self, leader: float, length: int) -> bool:
        """Whether, by the rule of ``early_stopping``, no running beam is to replace a finished one any more."""
        config = self.prompt.config
        if len(self.finished) < self.size:
            return False
        if config.early_stopping is True:
            return True
        if config.early_stopping == "never" and config.length_penalty > 0:
            length = self.prompt.max_new_tokens
        attainable: float = leader / length**config.length_penalty
        return min(f.score for f in self.finished) >= attainable


@dataclass(slots=True, eq=False)
class BeamGroup(Group):
    """Beam search over one prompt. Its rows are the beams of its searches, one search after the other."""

    prompt: Prompt
    stream: TextStream
    scorer: Scorer
    clock: Callable[[], float] = time.monotonic
    _searches: list[Search] = field(init=False)
    _random: "np.random.Generator" = field(init=False)
    _times: list[float] = field(default_factory=lambda: [0.0])
    _told: bool = False
    tag: object = None
    error: LLMBuilderError | None = None

    def __post_init__(self) -> None:
        """Start every search with the prompt as its only beam."""
        config = self.prompt.config
        size = config.num_beams // config.num_beam_groups
        start = Beam(0.0, self.stream, constraint=self.prompt.constraint)
        self._searches = [Search(self.prompt, size, [start]) for _ in range(config.num_beam_groups)]
        self._random = random_numbers(config.seed, 0)

    @property
    def width(self) -> int:
        """Rows of the searches that go on."""
        return sum(search.size for search in self._searches if not search.done)

    def start(self) -> None:
        """Start the clock."""
        self._times = [self.clock()]

    def advance(self, logits: Sequence[LogitRow]) -> list[Move]:
        """Take the logits [V] of each row, at first of the prompt alone, and let every search choose."""
        moves: list[Move] = []
        chosen: list[int] = []
        first = 0
        for search in self._searches:
            if search.done:
                # transformers fills finished groups with padding, which the others' diversity penalty counts.
                chosen += [self.prompt.pad_id] * search.size
                continue
            sources = range(first, first + len(search.beams)) if len(self._times) > 1 else [0]
            first += len(search.beams)
            origins = self._choose(search, [whole(logits[source]) for source in sources], chosen)
            tokens = [beam.ids[-1] for beam in search.beams] if origins else []
            chosen += tokens
            if not search.done:
                moves += [Move(sources[origin], token) for origin, token in zip(origins, tokens, strict=True)]
        self._times.append(self.clock())
        if not self._ended():
            return moves
        if self.prompt.constraint is not None:
            self._check_texts(self.prompt.constraint)
        return []

    def tail(self, row: int, count: int) -> Sequence[int]:
        """Last ``count`` ids of a row, prompt included."""
        beams = [beam for search in self._searches if not search.done for beam in search.beams]
        return (self.prompt.ids + beams[row].ids)[-count:]

    def finish(self, reason: FinishReason, error: LLMBuilderError | None = None) -> None:
        """Finish all beams as they are; where an ``error`` ends them, or their texts fail, they come to nothing."""
        self.error = error
        for search in self._searches:
            search.done |= self.error is not None
            try:
                search.close(reason)
            except LLMBuilderError as failure:  # such as a tokenizer's
                self.error, search.done = failure, True

    def hypotheses(self) -> list[Finished]:
        """The best ``num_return_sequences`` hypotheses of all searches, best first.

        Fewer only where fewer texts exist, such as those of one token in a vocabulary smaller than that.
        """
        finished = [f for search in self._searches for f in search.finished]
        # Sorted up, then reversed: of equal scores the last finished comes first, as in transformers.
        ranked = sorted(finished, key=lambda f: f.score)[::-1]
        return ranked[: self.prompt.config.num_return_sequences]

    def pieces(self) -> list[Piece]:
        """Each of the best hypotheses whole, once the search is over."""
        if self.width or self._told or self.error is not None:
            return []
        self._told = True
        wanted = self.prompt.config.logprobs is not None
        return [
            Piece(k, f.beam.stream.text, f.beam.ids, f.beam.logprobs if wanted else None, f.reason)
            for k, f in enumerate(self.hypotheses())
        ]

    def completions(self) -> list[Completion]:
        """One for each of the best hypotheses, best first; raises the error that ended the group."""
        if self.error is not None:
            raise self.error
        return [self._completion(finished) for finished in self.hypotheses()]

    def _choose(self, search: Search, rows: Sequence[FloatArray], chosen: Sequence[int]) -> list[int]:
        """Score what could extend a search's beams and let it take the best; see `Search.take`."""
        config = self.prompt.config
        count = max(2, 1 + len(self.prompt.eos_ids)) * search.size  # so many that EOS cannot end them all
        penalty = diversity(chosen, config.diversity_penalty, rows[0].size)
        penalties = [penalty] * len(rows)
        if self.prompt.constraint is not None:
            search.beams, penalties = _constrained(search.beams, rows, penalty)
        scored = [
            self.scorer(row, beam.ids, beam.score, cost)
            for beam, row, cost in zip(search.beams, rows, penalties, strict=True)
        ]
        ranked = drawn(scored, count, self._random) if config.do_sample else best(scored, count)
        return search.take(ranked, rows)

    def _ended(self) -> bool:
        limit = self.prompt.config.max_time
        if len(self._times) > self.prompt.max_new_tokens:
            self.finish("length")
        elif limit is not None and self._times[-1] - self._times[0] > limit:
            self.finish("time")
        return all(search.done for search in self._searches)

    def _check_texts(self, constraint: Constraint) -> None:
        best = self.hypotheses()
        if not best:
            check_met(constraint, "length")
        for finished in best:
            check_cut(constraint, finished.reason, finished.beam.stream.text)

    def _completion(self, finished: Finished) -> Completion:
        beam = finished.beam
        first = self._times[min(1, len(beam.ids))]
        times = Times(self._times[0], first, self._times[len(beam.ids)])
        return Completion.of(self.prompt, beam.stream.text, beam.ids, beam.logprobs, finished.reason, times)


def _constrained(
    beams: Sequence[Beam], rows: Sequence[FloatArray], penalty: FloatArray | None
) -> tuple[list[Beam], list[FloatArray | None]]:
    """Let each beam's constraint decide; return the beams and what each token costs them [V].

    As a cost, infinite for a token that is forbidden, because one that a constraint leaves no choice about must count
    with its own probability.
    """
    decided: list[Beam] = []
    costs: list[FloatArray | None] = []
    for beam, row in zip(beams, rows, strict=True):
        assert beam.constraint is not None  # noqa: S101 (every beam descends from the prompt's)
        allowed, constraint = beam.constraint.decide(row)
        decided.append(replace(beam, constraint=constraint))
        costs.append(row - allowed if penalty is None else row - allowed + penalty)
    return decided, costs
