"""Logits that lie on a device, of which the little that a choice needs can be had without the rest.

What a row answers is exactly what the whole row would; where that is in doubt it answers nothing, and the whole row
must be fetched.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from llmbuilder.arrays import FloatArray, Ids, Scores


class RemoteRow(ABC):
    """The logits [V] of one row. NumPy can take them for an array, which fetches them."""

    @abstractmethod
    def whole(self) -> FloatArray:
        """All of them."""

    @abstractmethod
    def likeliest(self) -> int | None:
        """The token of the highest one, the lowest of equals; None if one of all is NaN or infinite."""

    @abstractmethod
    def largest(self) -> tuple[Ids, Scores] | None:
        """The tokens [n] of the highest ones, ascending, and these; None if one of all is NaN or +inf."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        """All of them as an array."""
        return as_array(self.whole(), dtype, copy=copy)


class RemoteRows(ABC):
    """The logits [rows, V] of a step, until the next step. NumPy can take them for an array, which fetches them."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def __getitem__(self, row: int) -> RemoteRow:
        """The logits of a row."""

    @abstractmethod
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        """All of them as an array."""


def as_array(logits: FloatArray, dtype: Any, *, copy: bool | None) -> FloatArray:
    """What NumPy asks an object's ``__array__`` for."""
    array: FloatArray = np.asarray(logits, dtype)
    return array.copy() if copy else array


LogitRow = FloatArray | RemoteRow
"""Logits [V] of one row, here or on a device."""
LogitRows = FloatArray | RemoteRows
"""Logits [rows, V] of a step, here or on a device."""


def whole(row: LogitRow) -> FloatArray:
    """The logits [V] of a row, here."""
    return row if isinstance(row, np.ndarray) else row.whole()
