"""What decoding needs of a computation: rows of tokens that grow, and the logits of what follows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.remote import LogitRows

LEAST_CHUNK = 2
"""A token alone runs through other kernels, which round differently from the same token inside a chunk."""


class RowDecoder(Protocol):
    """Rows that the loop can compute with; those of the engine and of `llmbuilder.testing` are."""

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        ...

    @property
    def budget(self) -> int:
        """Most tokens that all rows together may hold."""
        ...

    @property
    def prefill_chunk(self) -> int:
        """Most tokens of a prompt that are computed at once."""
        ...

    @property
    def border(self) -> int:
        """Where a prompt may be cut without changing a bit: at multiples of so many tokens.

        1: anywhere, so that no part is a single token, see `chunk_size`.
        """
        ...

    def begin(self, row: int, ids: Sequence[int]) -> "Filling":
        """Empty a row, to compute ``ids`` in it a chunk at a time."""
        ...

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; logits [keep, V] of the last ``keep`` of them."""
        ...

    def step(self, tokens: Sequence[int]) -> LogitRows:
        """Append one token to each of the first rows; logits [rows, V]."""
        ...

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from ``length`` on."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Make a row equal to another."""
        ...


class RestorableDecoder(RowDecoder, Protocol):
    """A decoder whose rows can be kept and begun with."""

    def save(self, row: int) -> Any:
        """Keep what a row has computed."""
        ...

    def load(self, row: int, saved: Any, length: int) -> None:
        """Begin a row with the first ``length`` tokens of a kept one."""
        ...


@dataclass(slots=True)
class Filling:
    """A text on its way into a row, computed a chunk at a time. It is cut where that changes no bit of the result."""

    decoder: RowDecoder
    row: int
    ids: Sequence[int]
    done: int = 0
    """Tokens that the row holds already."""
    logits: FloatArray | None = None
    """Logits [V] of what follows, once all is computed."""
    at_end: Callable[["Filling"], None] = lambda _: None

    @property
    def finished(self) -> bool:
        """Whether the row holds the whole text."""
        return self.done == len(self.ids)

    def advance(self, most: int) -> int:
        """Compute the next chunk, of about ``most`` tokens or up to a border; return how many they were."""
        size = next_chunk(self.done, len(self.ids) - self.done, most, self.decoder.border)
        logits = self.decoder.prefill(self.row, self.ids[self.done : self.done + size])
        self.done += size
        if self.finished:
            self.logits = logits[-1]
            self.at_end(self)
        return size


def chunk_size(left: int, most: int) -> int:
    """Tokens of the next chunk, if ``left`` are left: at most ``most``, but neither it nor the last a single one."""
    size = min(left, max(most, LEAST_CHUNK))
    if left - size == 1:
        size += 1 if size <= LEAST_CHUNK else -1
    return size


def next_chunk(done: int, left: int, most: int, border: int) -> int:
    """Tokens of the next chunk after ``done`` of a text: of about ``most``, or to the next multiple of a border."""
    return chunk_size(left, most) if border == 1 else min(left, border - done % border)


def chunk_sizes(count: int, largest: int, *, done: int = 0, border: int = 1) -> list[int]:
    """The chunks of ``count`` tokens that follow ``done`` others, of about ``largest`` each, or between borders."""
    sizes: list[int] = []
    while count > 0:
        sizes.append(next_chunk(done, count, largest, border))
        done, count = done + sizes[-1], count - sizes[-1]
    return sizes
