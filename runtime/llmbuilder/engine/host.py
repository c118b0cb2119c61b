"""A computation in the memory of the process.

All inputs and outputs of a decoding step are bound once for each number of rows and then only written in place, so that
a step costs nothing in Python beyond the call itself.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import ATTENTION_MASK, INPUT_IDS, POSITION_IDS
from llmbuilder.decoding.prompt import check_ids
from llmbuilder.engine.cache import HostCache
from llmbuilder.engine.decoder import Decoder
from llmbuilder.engine.feeding import bind_arrays, chunk_feeds
from llmbuilder.engine.graph import LoadedGraph
from llmbuilder.engine.limits import within_memory

if TYPE_CHECKING:
    import onnxruntime


class HostDecoder(Decoder):
    """A decoder over arrays of the process.

    Where a model needs it the first slot of the cache stays idle, and takes part in the steps of a row alone.
    """

    cache: HostCache

    def __init__(
        self, graph: LoadedGraph, cache: HostCache, *, idle_rows: int = 0, cache_bytes: int | None = None
    ) -> None:
        """As `Decoder`."""
        super().__init__(graph, cache, idle_rows=idle_rows, cache_bytes=cache_bytes)
        self._buffers: _Buffers | None = None
        self._bindings: dict[tuple[int, int], onnxruntime.IOBinding] = {}

    def step(self, tokens: Sequence[int]) -> FloatArray:
        """Append one token to each of the first ``len(tokens)`` rows; logits [rows, V]."""
        check_ids("tokens", tokens, self.graph.facts.vocab_size)
        rows = len(tokens)
        first = self._idle if rows > 1 else 0
        count = self._idle + rows - first
        last = self._idle + rows
        self._reserve(last, max(self.cache.lengths[first:last]) + 1)
        buffers, binding = self._bound(first, count)
        buffers.write([*[0] * (count - rows), *tokens], self.cache.lengths, first)
        self._run(binding)
        self.cache.extend(self._idle, rows, 1)
        return buffers.logits[self._idle : last, 0]

    def _reserve(self, slots: int, capacity: int) -> None:
        if slots > self.cache.slots or capacity > self.cache.capacity:
            self._buffers = None
            self._bindings.clear()
            self.cache.reserve(slots=slots, capacity=capacity)

    def _bound(self, first: int, count: int) -> "tuple[_Buffers, onnxruntime.IOBinding]":
        """The buffers, and the binding of some slots; made anew when the cache has grown, or in a fork."""
        self._catch_up()
        if self._buffers is None:
            self._buffers = _Buffers(self.cache.slots, self.cache.capacity, self.graph.facts.vocab_size)
        binding = self._bindings.get((first, count))
        if binding is None:
            with self._running:
                binding = self._session.io_binding()
                self._buffers.bind(binding, first, count)
                self.cache.bind(binding, first, count)
            self._bindings[first, count] = binding
        return self._buffers, binding

    def _run_chunk(self, slot: int, ids: Sequence[int], keep: int) -> FloatArray:
        """Append one chunk to one slot; logits [keep, V]."""
        past = self.cache.lengths[slot]
        logits = np.empty((1, keep, self.graph.facts.vocab_size), np.float32)
        feeds = chunk_feeds(self.graph.head, ids, past, keep)
        feeds[ATTENTION_MASK] = np.ones((1, past + len(ids)), np.int64)
        self._catch_up()
        with self._running:
            binding = self._session.io_binding()
            bind_arrays(binding, feeds, logits)
            self.cache.bind(binding, slot, 1)
        self._run(binding)
        self.cache.extend(slot, 1, len(ids))
        last: FloatArray = logits[0]
        return last

    def _run(self, binding: "onnxruntime.IOBinding") -> None:
        self.graph.pages.spend()
        started = time.perf_counter()
        with self._running:
            self._session.run_with_iobinding(binding)
        self.graph.pages.earn(time.perf_counter() - started)

    def _catch_up(self) -> None:
        """Go on with the model's present session; bindings belong to the one they were made for."""
        session = self.graph.ready()
        if session is not self._session:
            self._session = session
            self._bindings.clear()


def _logits(rows: int, positions: int, vocab_size: int) -> FloatArray:
    """Room for logits [rows, positions, vocab_size]."""
    size = 4 * rows * positions * vocab_size
    with within_memory(
        f"Logits of {rows} sequences", size, "Lower batch_size, num_beams or num_return_sequences."
    ):
        return np.empty((rows, positions, vocab_size), np.float32)


class _Buffers:
    """The arrays of a one-token step, with room for all rows of the cache.

    The attention mask is as wide as the cache's capacity, so that its memory never moves: row r holds ones for its
    own tokens and zeros behind them.
    """

    def __init__(self, rows: int, capacity: int, vocab_size: int) -> None:
        self.ids = np.zeros((rows, 1), np.int64)
        self.positions = np.zeros((rows, 1), np.int64)
        self.mask = np.zeros((rows, capacity), np.int64)
        self.masked = [0] * rows
        self.logits = _logits(rows, 1, vocab_size)

    def write(self, tokens: Sequence[int], lengths: Sequence[int], first: int) -> None:
        """Set the inputs of a step that appends a token to each slot from ``first`` on, of the given lengths."""
        for slot, token in enumerate(tokens, first):
            length, masked = lengths[slot], self.masked[slot]
            self.ids[slot, 0] = token
            self.positions[slot, 0] = length
            if masked == length:  # one token more than in the last step, as most often
                self.mask[slot, length] = 1
            elif masked < length:
                self.mask[slot, masked : length + 1] = 1
            else:
                self.mask[slot, length + 1 : masked] = 0
            self.masked[slot] = length + 1

    def bind(self, binding: "onnxruntime.IOBinding", first: int, count: int) -> None:
        """Bind the part of some slots."""
        part = slice(first, first + count)
        feeds = {INPUT_IDS: self.ids, ATTENTION_MASK: self.mask, POSITION_IDS: self.positions}
        bind_arrays(binding, {name: array[part] for name, array in feeds.items()}, self.logits[part])
