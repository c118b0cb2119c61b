"""The KV cache: one slot for each sequence, written in place by the graph, grown on demand.

`Cache` is all that computations know of it. `HostCache` is the one in the memory of the process; one on a device, or of
another type, is another class with the same verbs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from llmbuilder.engine.layout import CacheLayout
from llmbuilder.engine.limits import within_memory
from llmbuilder.engine.pages import give_back, mapped_zeros

if TYPE_CHECKING:
    import onnxruntime

LONG = 512
"""Tokens that a slot must lose before its memory is given back: short rows cost no system calls."""

HostRow = Sequence[npt.NDArray[np.generic]]
"""Keys and values [heads, length, size] of one sequence, for each tensor of the layout."""


class Cache(Protocol):
    """Slots of keys and values, with their lengths."""

    @property
    def lengths(self) -> list[int]:
        """Number of valid tokens in each slot."""
        ...

    @property
    def slots(self) -> int:
        """Number of sequences there is room for."""
        ...

    @property
    def capacity(self) -> int:
        """Number of tokens that each slot has room for."""
        ...

    def reserve(self, *, slots: int = 0, capacity: int = 0) -> None:
        """Make room for so many sequences and tokens. If there was less, they lie elsewhere from then on.

        Raises:
            DeviceError: there is no memory for them; what was there is as before.
        """
        ...

    def extend(self, first: int, count: int, tokens: int) -> None:
        """Note that the graph has appended ``tokens`` to each of ``count`` slots from ``first`` on."""
        ...

    def truncate(self, slot: int, length: int) -> None:
        """Forget a slot's tokens from ``length`` on."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Make slot ``target`` equal to slot ``source``."""
        ...

    def save(self, slot: int) -> Any:
        """Keep what a slot holds, apart from the cache."""
        ...

    def load(self, slot: int, saved: Any, length: int) -> None:
        """Make a slot the first ``length`` tokens of a kept one; there must be room."""
        ...


class HostCache:
    """Arrays of shape [slots, heads, capacity, size] in the process's memory, one for each tensor of the layout.

    Memory is taken where tokens are: a slot with few of them costs little beside one with many.
    ``bytes_copied`` counts what growing, copying and loading have cost.
    """

    def __init__(self, layout: CacheLayout, *, slots: int, capacity: int, limit: int) -> None:
        """Make ``slots`` sequences of ``capacity`` tokens; they may grow to ``limit`` tokens.

        Raises:
            DeviceError: the system does not give so much.
        """
        self.layout = layout
        self.limit = limit
        self.capacity = min(capacity, limit)
        self.lengths = [0] * slots
        self.bytes_copied = 0
        self._written = [0] * slots
        """Tokens that each slot may have memory for, where that is more than its length."""
        self._tensors = self._allocate(slots, self.capacity)

    @property
    def slots(self) -> int:
        """Number of sequences there is room for."""
        return len(self.lengths)

    def reserve(self, *, slots: int = 0, capacity: int = 0) -> None:
        """Make room for at least so many sequences and tokens, doubling."""
        new_slots = self.slots if slots <= self.slots else max(slots, 2 * self.slots)
        new_capacity = self.capacity
        if capacity > self.capacity:
            new_capacity = min(self.limit, max(capacity, 2 * self.capacity))
        if (new_slots, new_capacity) == (self.slots, self.capacity):
            return
        for index, new in enumerate(self._allocate(new_slots, new_capacity)):
            self._move(self._tensors[index], new)
            self._tensors[index] = new
        self._written = [*self.lengths, *[0] * (new_slots - self.slots)]
        self.lengths += [0] * (new_slots - self.slots)
        self.capacity = new_capacity

    def bind(self, binding: "onnxruntime.IOBinding", first: int, count: int) -> None:
        """Bind slots from ``first`` on as past and present: the same memory, so that the graph writes in place."""
        import onnxruntime as ort

        for tensor, array in zip(self.layout, self._tensors, strict=True):
            value = ort.OrtValue.ortvalue_from_numpy(array[first : first + count])
            binding.bind_ortvalue_input(tensor.past, value)
            binding.bind_ortvalue_output(tensor.present, value)

    def extend(self, first: int, count: int, tokens: int) -> None:
        """Note that the graph has appended ``tokens`` to each of ``count`` slots from ``first`` on."""
        for slot in range(first, first + count):
            self.lengths[slot] += tokens

    def truncate(self, slot: int, length: int) -> None:
        """Forget a slot's tokens from ``length`` on, and give the memory of a long text back."""
        if length < self.lengths[slot]:
            self._shorten(slot, length)

    def copy(self, source: int, target: int) -> None:
        """Make slot ``target`` equal to slot ``source``, moving only its valid tokens."""
        self.load(target, [array[source] for array in self._tensors], self.lengths[source])

    def save(self, slot: int) -> HostRow:
        """Copy the valid tokens of a slot out of the cache.

        Raises:
            DeviceError: there is no memory for them.
        """
        length = self.lengths[slot]
        kept = [array[slot, :, :length] for array in self._tensors]
        with within_memory(
            f"A copy of {length} tokens", sum(part.nbytes for part in kept), "Shorten the prompt."
        ):
            return [part.copy() for part in kept]

    def load(self, slot: int, saved: HostRow, length: int) -> None:
        """Make a slot the first ``length`` tokens of a kept one; there must be room."""
        self._shorten(slot, length)
        for array, kept in zip(self._tensors, saved, strict=True):
            array[slot, :, :length] = kept[:, :length]
            self.bytes_copied += array[slot, :, :length].nbytes

    def _shorten(self, slot: int, length: int) -> None:
        """Set a slot's length; where it was written far beyond, give the memory back."""
        written = max(self._written[slot], self.lengths[slot])
        if written - length >= LONG:
            for tensor, array in zip(self.layout, self._tensors, strict=True):
                token = tensor.size * tensor.dtype.itemsize
                for head in range(slot * tensor.heads, (slot + 1) * tensor.heads):
                    start = head * self.capacity
                    give_back(array, (start + length) * token, (start + written) * token)
            written = length
        self._written[slot] = written
        self.lengths[slot] = length

    def _move(self, old: npt.NDArray[np.generic], new: npt.NDArray[np.generic]) -> None:
        """Copy every slot's own tokens."""
        for slot, length in enumerate(self.lengths):
            new[slot, :, :length] = old[slot, :, :length]
            self.bytes_copied += old[slot, :, :length].nbytes

    def _allocate(self, slots: int, capacity: int) -> list[npt.NDArray[np.generic]]:
        size = slots * capacity * sum(tensor.bytes_per_token for tensor in self.layout)
        with within_memory(
            f"A KV cache for {slots} sequences of {capacity} tokens",
            size,
            "Lower batch_size, or ask for shorter prompts and fewer new tokens.",
        ):
            return [mapped_zeros((slots, t.heads, capacity, t.size), t.dtype) for t in self.layout]
