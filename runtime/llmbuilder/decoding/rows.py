"""What decoding needs of a computation: rows of tokens that grow, and the logits of what follows them."""

from collections.abc import Sequence
from typing import Any, Protocol

from llmbuilder.arrays import FloatArray


class RowDecoder(Protocol):
    """Rows that the loop can compute with; those of the engine and of `llmbuilder.testing` are."""

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        ...

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; logits [keep, V] of the last ``keep`` of them."""
        ...

    def step(self, tokens: Sequence[int]) -> FloatArray:
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
