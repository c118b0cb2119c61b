"""Decoders around decoders: what one does not change is done by the one inside."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.remote import LogitRows
from llmbuilder.decoding.rows import Filling, RowDecoder

Inner = TypeVar("Inner", bound=RowDecoder)


class WrappedDecoder(Generic[Inner]):
    """A `RowDecoder` that leaves everything to another."""

    def __init__(self, decoder: Inner) -> None:
        """Compute with ``decoder``."""
        self.decoder = decoder

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        return self.decoder.lengths

    @property
    def budget(self) -> int:
        """Most tokens that all rows together may hold."""
        return self.decoder.budget

    @property
    def prefill_chunk(self) -> int:
        """Most tokens of a prompt that are computed at once."""
        return self.decoder.prefill_chunk

    @property
    def border(self) -> int:
        """Where a prompt may be cut."""
        return self.decoder.border

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        """Empty a row, to compute ``ids`` in it a chunk at a time."""
        return self.decoder.begin(row, ids)

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; logits [keep, V] of the last ``keep`` of them."""
        return self.decoder.prefill(row, ids, keep)

    def step(self, tokens: Sequence[int]) -> LogitRows:
        """Append one token to each of the first rows; logits [rows, V]."""
        return self.decoder.step(tokens)

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from ``length`` on."""
        self.decoder.truncate(row, length)

    def copy(self, source: int, target: int) -> None:
        """Make a row equal to another."""
        self.decoder.copy(source, target)
