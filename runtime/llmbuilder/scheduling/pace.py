"""How large the chunks of prompts may be while others stream.

Those who stream wait for a chunk and a step for each token. Were all rows that have joined stepping, and a chunk as
long as their step, that would be twice such a step. So long it may always be: where few rows step beside many prompts,
chunks are longer, or the prompts would come no faster than rows end.
"""

import time
from collections.abc import Callable, Sequence
from itertools import accumulate

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.loop import OpenDecoder
from llmbuilder.decoding.remote import LogitRows
from llmbuilder.decoding.rows import Filling, RowDecoder
from llmbuilder.decoding.wrapping import WrappedDecoder

LEAST = 16
"""Tokens of a chunk at least: below, a prompt would take longer without the others noticing."""
_KEPT = 0.9
"""What a measurement weighs after the next one."""
_NEARLY = 0.75
"""Share of its size from which on a chunk ends where a prompt does: runs of few tokens are dear."""
_CALM = 0.1
"""Variance of rows below which little is known of how steps grow with them."""


class Pace:
    """Measures steps and chunks. A chunk's size changes no bit of what it computes, only when it is done."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Know nothing yet."""
        self.clock = clock
        self._rows = 0
        self._steps = _Line()
        self._tokens = self._seconds = 0.0

    def chunk(self, most: int, *, streaming: bool, rows: int, texts: Sequence[int]) -> int:
        """Tokens of the next chunk; ``most`` where nobody waits for a step.

        Args:
            most: bound.
            streaming: whether somebody waits.
            rows: rows that step or will, once their prompts are computed.
            texts: tokens to compute of each prompt, in order.
        """
        if not streaming or not self._tokens or not self._rows:
            return most
        whole, now = self._steps.at(max(rows, self._rows)), self._steps.at(self._rows)
        tokens = int((2 * whole - now) * self._tokens / self._seconds)
        return max(LEAST, min(most, _to_an_end(tokens, texts)))

    def stepped(self, rows: int, seconds: float) -> None:
        """Note what a step took."""
        self._rows = rows
        self._steps.note(rows, seconds)

    def filled(self, tokens: int, seconds: float) -> None:
        """Note what a chunk took."""
        self._tokens = _KEPT * self._tokens + tokens
        self._seconds = _KEPT * self._seconds + seconds

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
        self._pace.stepped(len(tokens), self._pace.clock() - before)
        return logits


class _Line:
    """A line through what was measured, the newest weighing most: seconds that grow with rows, but not faster."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = 0.0
        self._squares = self._products = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Another measurement."""
        self._weight = _KEPT * self._weight + 1
        self._rows = _KEPT * self._rows + rows
        self._seconds = _KEPT * self._seconds + seconds
        self._squares = _KEPT * self._squares + rows * rows
        self._products = _KEPT * self._products + rows * seconds

    def at(self, rows: int) -> float:
        """Seconds for so many rows."""
        mean_rows, mean = self._rows / self._weight, self._seconds / self._weight
        variance = self._squares / self._weight - mean_rows**2
        slope = (self._products / self._weight - mean_rows * mean) / (variance + _CALM)
        return mean + min(max(slope, 0.0), mean / mean_rows) * (rows - mean_rows)


def _to_an_end(tokens: int, texts: Sequence[int]) -> int:
    """So many tokens, or a few less if a text ends there."""
    end = max((end for end in accumulate(texts) if end <= tokens), default=0)
    return end if end >= _NEARLY * tokens else tokens
