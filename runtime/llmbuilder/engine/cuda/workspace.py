"""The memory that a captured CUDA graph reads and writes, and the pool from which computations borrow it.

A graph is captured for addresses, and belongs to its session for ever. So memory comes in few sizes, a computation
borrows it and gives it back, and the number of graphs stays that of the sizes in use at one time.
"""

import threading
from collections.abc import Sequence
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import ATTENTION_MASK, INPUT_IDS, LOGITS, POSITION_IDS
from llmbuilder.engine.cuda.choice import ChoiceSessions, StepOutput
from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.cuda.slab import Mover, Slab
from llmbuilder.engine.feeding import bind_arrays, chunk_feeds
from llmbuilder.errors import DeviceError

if TYPE_CHECKING:
    import onnxruntime

    from llmbuilder.engine.graph import LoadedGraph

STEP_ROWS = 8
"""Rows of a step at least where rows must not depend on how many there are; twice as many in each larger size."""
STEP_CAPACITY = 2048
"""Tokens of a row at least, where the window has them, and twice as many in each larger size."""
_SHARE = 8
"""Rows have room for the whole window at once if that takes no more than this part of a card's memory: kernels plan
their work by the room there is."""
_NO_GRAPH = -1


class Workspace:
    """Caches of some rows, and the inputs and logits of a step of all of them."""

    def __init__(
        self,
        graph: "LoadedGraph",
        place: Place,
        choices: ChoiceSessions,
        slots: int,
        capacity: int,
        number: int,
    ) -> None:
        """Take the memory, for the graphs with this ``number``, from 1.

        Raises:
            DeviceError: the device does not have so much free.
        """
        self.graph = graph
        self.place = place
        self.slab = Slab(place, graph.layout, slots, capacity)
        self._inputs = place.empty([2, slots, 1], np.int64)
        self._written = np.zeros((2, slots, 1), np.int64)
        self._mask = place.empty([1, slots, capacity], np.int64)  # only its width is read
        self._logits = place.empty([slots, 1, graph.facts.vocab_size], np.float32)
        self._output = StepOutput(choices, self._logits, number)
        self._step_options = place.run_options(number)
        self._chunk_options = place.run_options(_NO_GRAPH)
        self._step = self._bound_step()
        self._chunks: dict[int, onnxruntime.IOBinding] = {}
        self.captured = False

    @property
    def slots(self) -> int:
        """Number of rows, all of which take part in every step."""
        return self.slab.slots

    @property
    def capacity(self) -> int:
        """Number of tokens that each row has room for."""
        return self.slab.capacity

    def step(self, tokens: Sequence[int], lengths: Sequence[int]) -> StepOutput:
        """Append a token to each of the first rows, all rows having these lengths; the logits.

        The other rows take part with a token that the next one to come overwrites.
        """
        ids, positions = self._written
        ids[: len(tokens), 0] = tokens
        positions[:, 0] = lengths
        if max(lengths) == self.capacity:  # a row that is full waits for its end, or for another window
            np.minimum(positions, self.capacity - 1, out=positions)
        self._inputs.update_inplace(self._written)
        self.graph.session.run_with_iobinding(self._step, self._step_options)
        self.captured = True
        return self._output

    def prefill(self, slot: int, ids: Sequence[int], past: int, keep: int) -> FloatArray:
        """Append ids to a row that has ``past`` tokens; logits [keep, V] of the last ones."""
        graph = self.graph
        logits = np.empty((1, keep, graph.facts.vocab_size), np.float32)
        feeds = chunk_feeds(graph.head, ids, past, keep)
        binding = self._bound_chunk(slot)
        bind_arrays(binding, feeds, logits)
        graph.session.run_with_iobinding(binding, self._chunk_options)
        last: FloatArray = logits[0]
        return last

    def _bound_step(self) -> "onnxruntime.IOBinding":
        binding = self.graph.session.io_binding()
        address = self._inputs.data_ptr()
        for row, name in enumerate((INPUT_IDS, POSITION_IDS)):
            where = address + row * self.slots * np.dtype(np.int64).itemsize
            self._bind_input(binding, name, np.int64, [self.slots, 1], where)
        self._bind_mask(binding, self.slots)
        binding.bind_ortvalue_output(LOGITS, self._logits)
        self._bind_caches(binding, 0, self.slots)
        return binding

    def _bound_chunk(self, slot: int) -> "onnxruntime.IOBinding":
        if slot not in self._chunks:
            binding = self.graph.session.io_binding()
            self._bind_mask(binding, 1)
            self._bind_caches(binding, slot, 1)
            self._chunks[slot] = binding
        return self._chunks[slot]

    def _bind_mask(self, binding: "onnxruntime.IOBinding", rows: int) -> None:
        self._bind_input(binding, ATTENTION_MASK, np.int64, [rows, self.capacity], self._mask.data_ptr())

    def _bind_caches(self, binding: "onnxruntime.IOBinding", first: int, count: int) -> None:
        """Bind rows as past and present: the same memory, so that the graph writes in place."""
        for tensor, address in zip(self.slab.layout, self.slab.addresses(first), strict=True):
            shape, kind = self.slab.shape(tensor, count), tensor.dtype.type
            self._bind_input(binding, tensor.past, kind, shape, address)
            binding.bind_output(tensor.present, self.place.kind, self.place.index, kind, shape, address)

    def _bind_input(
        self,
        binding: "onnxruntime.IOBinding",
        name: str,
        kind: type[np.generic],
        shape: Sequence[int],
        address: int,
    ) -> None:
        binding.bind_input(name, self.place.kind, self.place.index, kind, list(shape), address)


class Workspaces:
    """All workspaces of a loaded graph. Computations of several threads take turns: ``lock`` is held for a run."""

    def __init__(self, graph: "LoadedGraph", place: Place, *, deterministic: bool = True) -> None:
        """Begin with none.

        Args:
            graph: what computes.
            place: the device it is loaded on.
            deterministic: compute steps with few different numbers of rows, so that rows do not depend on others.
        """
        self.lock = threading.RLock()
        self.place = place
        self.mover = Mover(place, graph.layout)
        self._choices = ChoiceSessions(place, graph.facts.vocab_size)
        self._graph = graph
        self.deterministic = deterministic
        self._made: list[Workspace] = []
        self._idle: list[Workspace] = []
        self._returned: SimpleQueue[Workspace] = SimpleQueue()
        self._numbers = count(1)

    @property
    def graphs_captured(self) -> int:
        """Number of CUDA graphs that steps are replayed from."""
        return sum(workspace.captured for workspace in self._made)

    @property
    def idle_bytes(self) -> int:
        """Bytes of caches that nobody uses now."""
        with self.lock:
            return sum(workspace.slab.size for workspace in self._collected())

    def size(self, slots: int, capacity: int) -> tuple[int, int]:
        """The rows and tokens of the smallest workspace that has so many."""
        window = self._graph.facts.context_length
        rows = STEP_ROWS if self.deterministic else 1
        while rows < slots:
            rows *= 2
        tokens, most = STEP_CAPACITY, self._usual_room(rows) if self.deterministic else 0
        while tokens < min(window, max(capacity, most)):
            tokens *= 2
        return rows, min(tokens, window)

    def _usual_room(self, rows: int) -> int:
        """Tokens that each of so many rows has room for whatever they need: a power of two, or the window."""
        window, total = self._graph.facts.context_length, self.place.total_bytes()
        most = window if total is None else total // _SHARE // (rows * self._graph.bytes_per_token)
        return window if most >= window else 1 << max(most, 1).bit_length() - 1

    def take(self, slots: int, capacity: int) -> Workspace:
        """Borrow a workspace of at least so many rows and tokens; it may hold anything but NaN.

        Raises:
            DeviceError: the device does not have so much free, whatever of the idle ones is freed.
        """
        with self.lock:
            wanted = self.size(slots, capacity)
            idle = self._collected()
            for workspace in idle:
                if (workspace.slots, workspace.capacity) == wanted:
                    idle.remove(workspace)
                    return workspace
            try:
                return self._make(*wanted)
            except DeviceError:
                if not idle:
                    raise
            for workspace in idle:  # their graphs stay with the sessions, and are not replayed any more
                self._made.remove(workspace)
            idle.clear()
            return self._make(*wanted)

    def give_back(self, workspace: Workspace) -> None:
        """End a loan. Waits for nothing: the garbage collector calls it, from any thread at any time."""
        self._returned.put(workspace)

    def _collected(self) -> list[Workspace]:
        """Workspaces that nobody uses; under the lock."""
        while not self._returned.empty():
            self._idle.append(self._returned.get_nowait())
        return self._idle

    def _make(self, slots: int, capacity: int) -> Workspace:
        workspace = Workspace(self._graph, self.place, self._choices, slots, capacity, next(self._numbers))
        self.mover.clear(workspace.slab)
        self._made.append(workspace)
        return workspace
