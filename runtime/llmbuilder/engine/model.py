"""A loaded graph (`Model`) and one running computation over it (`Decoder`): token ids in, logits out.

A `Model` is shared between threads; every call makes its own `Decoder` with its own KV cache. All inputs and outputs
of a decoding step are bound once for each number of rows and then only written in place, so that a step costs
nothing in Python beyond the call itself.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import (
    ATTENTION_MASK,
    GRAPH_NAME,
    INPUT_IDS,
    LOGITS,
    POSITION_IDS,
    CacheType,
    Manifest,
    ModelFacts,
)
from llmbuilder.decoding.rows import Filling, chunk_sizes
from llmbuilder.engine.cache import Cache, HostCache
from llmbuilder.engine.head import find_head, last_logits
from llmbuilder.engine.layout import read_layout
from llmbuilder.engine.limits import available_memory
from llmbuilder.engine.session import Device, open_session

if TYPE_CHECKING:
    import onnxruntime

PREFILL_CHUNK = 512
"""Tokens of a prompt computed at once: bounds memory, and how long a prompt can hold up everything else."""

_ROUND = 64
_SHARE = 2
"""By default the caches of a computation may take this part of the memory that is free when it begins."""


class Model:
    """One ONNX Runtime session and the facts of its network."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        facts: ModelFacts,
        *,
        where: object = "the model",
        cache_type: CacheType = "float32",
        cache_bytes: int | None = None,
    ) -> None:
        """Check that the session's inputs and outputs are those of a bundle's graph.

        Args:
            session: the loaded graph.
            facts: what the manifest says of it.
            where: the bundle, for messages.
            cache_type: type of the cache in the manifest.
            cache_bytes: most bytes that the cache of one computation may take; None: half of what is free when it
                begins.

        Raises:
            BundleError: graph and manifest contradict each other.
        """
        self.session = session
        self.facts = facts
        self.cache_bytes = cache_bytes
        self.layout = read_layout(session, facts, cache_type, where)
        self.head = find_head(session, where)

    @classmethod
    def open(
        cls,
        directory: Path,
        manifest: Manifest,
        *,
        device: Device = "auto",
        threads: int | None = None,
        cache_bytes: int | None = None,
    ) -> Self:
        """Load the graph of a verified bundle.

        Raises:
            DeviceError, BundleError: see `open_session`; or the graph is not the one the manifest describes.
        """
        session = open_session(
            directory / GRAPH_NAME, built_for=manifest.device, device=device, threads=threads
        )
        return cls(
            session, manifest.model, where=directory, cache_type=manifest.kv_cache, cache_bytes=cache_bytes
        )

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token takes in the cache."""
        return sum(tensor.bytes_per_token for tensor in self.layout)

    def decoder(self, *, rows: int = 1, capacity: int = 256) -> "Decoder":
        """Start a computation with room for ``rows`` sequences of ``capacity`` tokens; both grow by themselves.

        Raises:
            DeviceError: the system does not give so much memory.
        """
        rounded = -(-max(capacity, 1) // _ROUND) * _ROUND
        cache = HostCache(self.layout, slots=rows, capacity=rounded, limit=self.facts.context_length)
        return Decoder(self, cache)


class Decoder:
    """Rows of tokens in a KV cache, and the logits of what follows them."""

    def __init__(self, model: Model, cache: Cache) -> None:
        """Use ``cache`` for a computation over ``model``."""
        self.model = model
        self.cache = cache
        self._budget: int | None = None
        self._buffers: _Buffers | None = None
        self._bindings: dict[int, onnxruntime.IOBinding] = {}

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        return self.cache.lengths

    @property
    def budget(self) -> int:
        """Number of tokens that all rows together may hold; `sys.maxsize` where nothing is known of memory."""
        if self._budget is None:
            size, free = self.model.cache_bytes, available_memory()
            if size is None and free is not None:
                size = free // _SHARE
            self._budget = sys.maxsize if size is None else size // self.model.bytes_per_token
        return self._budget

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        """Empty a row, to compute ``ids`` in it a chunk at a time."""
        self.truncate(row, 0)
        return Filling(self, row, ids)

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ``ids`` to a row, computed by itself in chunks.

        Args:
            row: index of the row; room is made for it.
            ids: token ids, at least ``keep`` of them.
            keep: number of last positions whose logits are wanted.

        Returns:
            Logits of shape [keep, vocab_size], newly allocated.
        """
        self._reserve(row + 1, self._length(row) + len(ids))
        kept: list[FloatArray] = []
        done = 0
        for size in chunk_sizes(len(ids), PREFILL_CHUNK):
            chunk = ids[done : done + size]
            done += size
            wanted = min(size, max(0, keep - (len(ids) - done)))
            logits = self._run_chunk(row, chunk, max(wanted, 1))
            if wanted:
                kept.append(logits)
        return kept[0] if len(kept) == 1 else np.concatenate(kept)

    def step(self, tokens: Sequence[int]) -> FloatArray:
        """Append one token to each of the first ``len(tokens)`` rows.

        Returns:
            Logits of shape [len(tokens), vocab_size], overwritten by the next step.
        """
        rows = len(tokens)
        lengths = self.cache.lengths
        self._reserve(rows, max(lengths[:rows]) + 1)
        buffers, binding = self._bound(rows)
        buffers.write(tokens, lengths)
        self.model.session.run_with_iobinding(binding)
        self.cache.extend(0, rows, 1)
        return buffers.logits[:rows, 0]

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from ``length`` on; a row that is not there yet has none."""
        if row < self.cache.slots:
            self.cache.truncate(row, length)

    def copy(self, source: int, target: int) -> None:
        """Make row ``target`` equal to row ``source``."""
        self._reserve(target + 1, 0)
        self.cache.copy(source, target)

    def save(self, row: int) -> Any:
        """Keep what a row has computed."""
        return self.cache.save(row)

    def load(self, row: int, saved: Any, length: int) -> None:
        """Begin a row with the first ``length`` tokens of a kept one."""
        self._reserve(row + 1, length)
        self.cache.load(row, saved, length)

    def _length(self, row: int) -> int:
        return self.cache.lengths[row] if row < self.cache.slots else 0

    def _reserve(self, rows: int, capacity: int) -> None:
        if rows > self.cache.slots or capacity > self.cache.capacity:
            self._buffers = None
            self._bindings.clear()
            self.cache.reserve(slots=rows, capacity=capacity)

    def _bound(self, rows: int) -> "tuple[_Buffers, onnxruntime.IOBinding]":
        """The buffers, and the binding of their first rows; made anew when the cache has grown."""
        if self._buffers is None:
            self._buffers = _Buffers(self.cache.slots, self.cache.capacity, self.model.facts.vocab_size)
        if rows not in self._bindings:
            binding = self._bindings[rows] = self.model.session.io_binding()
            self._buffers.bind(binding, rows)
            self.cache.bind(binding, 0, rows)
        return self._buffers, self._bindings[rows]

    def _run_chunk(self, row: int, ids: Sequence[int], keep: int) -> FloatArray:
        """Append one chunk to one row; logits [keep, V]."""
        import onnxruntime as ort

        past = self.cache.lengths[row]
        total = past + len(ids)
        logits = np.empty((1, keep, self.model.facts.vocab_size), np.float32)
        inputs = {
            INPUT_IDS: np.array([ids], np.int64),
            ATTENTION_MASK: np.ones((1, total), np.int64),
            POSITION_IDS: np.arange(past, total, dtype=np.int64)[None],
            self.model.head: last_logits(self.model.head, keep),
        }
        # The binding keeps raw pointers: `inputs` and `logits` must outlive the run.
        binding = self.model.session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_output(LOGITS, ort.OrtValue.ortvalue_from_numpy(logits))
        self.cache.bind(binding, row, 1)
        self.model.session.run_with_iobinding(binding)
        self.cache.extend(row, 1, len(ids))
        last: FloatArray = logits[0]
        return last


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
        self.logits = np.empty((rows, 1, vocab_size), np.float32)

    def write(self, tokens: Sequence[int], lengths: Sequence[int]) -> None:
        """Set the inputs of a step that appends a token to each of the first rows, of the given lengths."""
        for row, token in enumerate(tokens):
            length, masked = lengths[row], self.masked[row]
            self.ids[row] = token
            self.positions[row] = length
            if masked <= length:
                self.mask[row, masked : length + 1] = 1
            else:
                self.mask[row, length + 1 : masked] = 0
            self.masked[row] = length + 1

    def bind(self, binding: "onnxruntime.IOBinding", rows: int) -> None:
        """Bind the part of the first rows."""
        import onnxruntime as ort

        inputs = {INPUT_IDS: self.ids, ATTENTION_MASK: self.mask, POSITION_IDS: self.positions}
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array[:rows]))
        binding.bind_ortvalue_output(LOGITS, ort.OrtValue.ortvalue_from_numpy(self.logits[:rows]))
