"""The KV cache on a device: the verbs of `llmbuilder.engine.cache.Cache` over a borrowed workspace."""

import weakref
from dataclasses import dataclass

from llmbuilder.cleanup import undone_on_error
from llmbuilder.engine.cuda.slab import Slab
from llmbuilder.engine.cuda.workspace import Workspace, Workspaces


@dataclass(frozen=True, slots=True)
class SavedRow:
    """A row kept on the device: its slab of one slot, and how many of its tokens are valid."""

    slab: Slab
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.slab.size


class DeviceCache:
    """Slots of keys and values in a workspace, which is exchanged for a larger one when that is needed.

    A slot always has room for one token more than it holds, unless it holds the whole window: where an idle slot takes
    part in a step it is written there.
    """

    def __init__(self, workspaces: Workspaces, *, slots: int, capacity: int, limit: int) -> None:
        """Borrow room for ``slots`` sequences of ``capacity`` tokens; they may grow to ``limit`` tokens.

        Raises:
            DeviceError: the device does not have so much free.
        """
        self._workspaces = workspaces
        self.limit = limit
        self.lengths: list[int] = []
        self._keep(workspaces.take(slots, min(capacity, limit)))

    @property
    def slots(self) -> int:
        """Number of sequences there is room for."""
        return self.workspace.slots

    @property
    def capacity(self) -> int:
        """Number of tokens that each slot has room for."""
        return self.workspace.capacity

    def reserve(self, *, slots: int = 0, capacity: int = 0) -> None:
        """Make room for so many sequences, and for so many tokens and one more.

        Raises:
            DeviceError: the device does not have so much free; what was there is as before.
        """
        capacity = min(capacity + 1, self.limit)
        if slots <= self.slots and capacity <= self.capacity:
            return
        old = self.workspace
        with self._workspaces.lock:
            new = self._workspaces.take(max(slots, self.slots), max(capacity, self.capacity))
            with undone_on_error(lambda: self._workspaces.give_back(new)):
                self._workspaces.mover.move(old.slab, 0, new.slab, 0, count=old.slots, new_count=new.slots)
        self._loan()
        self._keep(new)

    def extend(self, first: int, count: int, tokens: int) -> None:
        """Note that the graph has appended ``tokens`` to each of ``count`` slots from ``first`` on."""
        for slot in range(first, first + count):
            self.lengths[slot] += tokens

    def truncate(self, slot: int, length: int) -> None:
        """Forget a slot's tokens from ``length`` on."""
        self.lengths[slot] = min(length, self.lengths[slot])

    def copy(self, source: int, target: int) -> None:
        """Make slot ``target`` equal to slot ``source``."""
        self._move(self.workspace.slab, source, self.workspace.slab, target)
        self.lengths[target] = self.lengths[source]

    def save(self, slot: int) -> SavedRow:
        """Keep what a slot holds, apart from the cache.

        Raises:
            DeviceError: the device does not have so much free.
        """
        length = self.lengths[slot]
        slab = Slab(self._workspaces.place, self.workspace.slab.layout, 1, max(length, 1))
        self._move(self.workspace.slab, slot, slab, 0)
        return SavedRow(slab, length)

    def load(self, slot: int, saved: SavedRow, length: int) -> None:
        """Make a slot the first ``length`` tokens of a kept one; there must be room."""
        self._move(saved.slab, 0, self.workspace.slab, slot)
        self.lengths[slot] = length

    def _keep(self, workspace: Workspace) -> None:
        """Have its slots from now on, until it is given back."""
        self.workspace = workspace
        self.lengths += [0] * (workspace.slots - len(self.lengths))
        self._loan = weakref.finalize(self, self._workspaces.give_back, workspace)

    def _move(self, source: Slab, first: int, target: Slab, to: int) -> None:
        with self._workspaces.lock:
            self._workspaces.mover.move(source, first, target, to)
