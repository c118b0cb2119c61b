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
    """A text on its way into a row, computed a chunk at a time. Where it is cut changes no bit of the result."""

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
        """Compute the next chunk, of about ``most`` tokens; return how many they were."""
        size = chunk_size(len(self.ids) - self.done, most)
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


def chunk_sizes(count: int, largest: int) -> list[int]:
    """The chunks of ``count`` tokens, of about ``largest`` each."""
    sizes: list[int] = []
    while count > 0:
        sizes.append(chunk_size(count, largest))
        count -= sizes[-1]
    return sizes
