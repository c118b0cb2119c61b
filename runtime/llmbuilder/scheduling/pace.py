"""How large the chunks of a prompt may be while others stream: about as long as one of their steps."""

import time
from collections.abc import Callable, Sequence

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.loop import OpenDecoder
from llmbuilder.decoding.remote import LogitRows
from llmbuilder.decoding.rows import Filling, RowDecoder
from llmbuilder.decoding.wrapping import WrappedDecoder

LEAST = 16
"""Tokens of a chunk at least: below, a prompt would take longer without the others noticing."""
_WEIGHT = 0.2  # of the newest measurement


class Pace:
    """Measures steps and chunks. A chunk's size changes no bit of what it computes, only when it is done."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Know nothing yet."""
        self.clock = clock
        self._step = self._token = 0.0

    def chunk(self, most: int, *, streaming: bool) -> int:
        """Tokens of the next chunk; ``most`` where nobody waits for a step."""
        if not streaming or not self._token or not self._step:
            return most
        return max(LEAST, min(most, int(self._step / self._token)))

    def stepped(self, seconds: float) -> None:
        """Note what a step took."""
        self._step = _mean(self._step, seconds)

    def filled(self, tokens: int, seconds: float) -> None:
        """Note what a chunk took."""
        self._token = _mean(self._token, seconds / tokens)

    def measuring(self, open_decoder: OpenDecoder) -> OpenDecoder:
        """The same decoders, measured."""

        def opened(**room: int) -> RowDecoder:
            return _Measured(open_decoder(**room), self)

        return opened


class _Measured(WrappedDecoder[RowDecoder]):
    """A decoder that tells how long it takes."""

    def __init__(self, decoder: RowDecoder, pace: Pace) -> None:
        super().__init__(decoder)
        self._pace = pace

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        filling = self.decoder.begin(row, ids)
        filling.decoder = self
        return filling

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        before = self._pace.clock()
        logits = self.decoder.prefill(row, ids, keep)
        self._pace.filled(len(ids), self._pace.clock() - before)
        return logits

    def step(self, tokens: Sequence[int]) -> LogitRows:
        before = self._pace.clock()
        logits = self.decoder.step(tokens)
        self._pace.stepped(self._pace.clock() - before)
        return logits


def _mean(known: float, new: float) -> float:
    return new if known == 0 else (1 - _WEIGHT) * known + _WEIGHT * new
