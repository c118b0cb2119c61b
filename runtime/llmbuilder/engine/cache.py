"""The KV cache: one slot for each sequence, written in place by the graph, grown on demand.

Everything else sees three verbs: `KVCache.reserve` (grow), `KVCache.copy` (a slot becomes a copy of another) and
`KVCache.views` (what to bind).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """What the graph says of its cache: for each past input its present output, and their common shape."""

    outputs: Mapping[str, str]
    """Name of the past input to name of the present output."""
    heads: int
    head_dim: int
    dtype: np.dtype[np.generic]


@dataclass(frozen=True, slots=True)
class SavedRow:
    """Keys and values [heads, length, head_dim] of one sequence, by past input name."""

    arrays: Mapping[str, npt.NDArray[np.generic]]


class KVCache:
    """Arrays of shape [slots, heads, capacity, head_dim] for every layer's keys and values.

    ``lengths[s]`` tokens of slot ``s`` are valid. ``bytes_copied`` counts what growing and copying have cost.
    """

    def __init__(self, layout: CacheLayout, *, slots: int, capacity: int, limit: int) -> None:
        """Allocate ``slots`` sequences of ``capacity`` tokens; they may grow to ``limit`` tokens."""
        self.layout = layout
        self.limit = limit
        self.capacity = min(capacity, limit)
        self.lengths = [0] * slots
        self.bytes_copied = 0
        self._arrays = {name: self._allocate(slots, self.capacity) for name in layout.outputs}

    @property
    def slots(self) -> int:
        """Number of sequences there is room for."""
        return len(self.lengths)

    def views(self, first: int, count: int) -> Mapping[str, npt.NDArray[np.generic]]:
        """Contiguous views [count, heads, capacity, head_dim] of slots from ``first`` on, by past input name."""
        return {name: array[first : first + count] for name, array in self._arrays.items()}

    def reserve(self, *, slots: int = 0, capacity: int = 0) -> bool:
        """Make room for at least so many sequences and tokens, doubling; return whether the arrays are new."""
        new_slots = self.slots if slots <= self.slots else max(slots, 2 * self.slots)
        new_capacity = self.capacity
        if capacity > self.capacity:
            new_capacity = min(self.limit, max(capacity, 2 * self.capacity))
        if (new_slots, new_capacity) == (self.slots, self.capacity):
            return False
        longest = max(self.lengths, default=0)
        for name, old in self._arrays.items():
            new = self._allocate(new_slots, new_capacity)
            new[: self.slots, :, :longest] = old[:, :, :longest]
            self.bytes_copied += old[:, :, :longest].nbytes
            self._arrays[name] = new
        self.lengths += [0] * (new_slots - self.slots)
        self.capacity = new_capacity
        return True

    def copy(self, source: int, target: int) -> None:
        """Make slot ``target`` equal to slot ``source``, moving only its valid tokens."""
        length = self.lengths[source]
        for array in self._arrays.values():
            array[target, :, :length] = array[source, :, :length]
            self.bytes_copied += array[source, :, :length].nbytes
        self.lengths[target] = length

    def save(self, slot: int) -> SavedRow:
        """Copy the valid tokens of a slot out of the cache."""
        length = self.lengths[slot]
        return SavedRow({name: array[slot, :, :length].copy() for name, array in self._arrays.items()})

    def load(self, slot: int, saved: SavedRow, length: int) -> None:
        """Make a slot the first ``length`` tokens of a saved one; there must be room."""
        for name, array in self._arrays.items():
            array[slot, :, :length] = saved.arrays[name][:, :length]
            self.bytes_copied += array[slot, :, :length].nbytes
        self.lengths[slot] = length

    def _allocate(self, slots: int, capacity: int) -> npt.NDArray[np.generic]:
        shape = (slots, self.layout.heads, capacity, self.layout.head_dim)
        return np.zeros(shape, dtype=self.layout.dtype)
