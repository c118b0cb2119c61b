"""One running computation over a model: token ids in, logits out."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.prompt import check_ids
from llmbuilder.decoding.remote import LogitRows
from llmbuilder.decoding.rows import Filling, chunk_sizes
from llmbuilder.engine.cache import Cache
from llmbuilder.engine.graph import LoadedGraph
from llmbuilder.engine.limits import recent_memory
from llmbuilder.errors import DeviceError, translated

PREFILL_CHUNK = 256
"""Tokens of a prompt computed at once: bounds memory, and how long a prompt can hold up everything else. More are no
faster."""

_SHARE = 2
"""By default the cache of a computation may take this part of the memory that is free when it begins."""


class Decoder:
    """Rows of tokens in a KV cache, and the logits of what follows them.

    What is common to all devices; how a chunk and a step are run is a subclass's.
    """

    def __init__(
        self, graph: LoadedGraph, cache: Cache, *, idle_rows: int = 0, cache_bytes: int | None = None
    ) -> None:
        """Use ``cache`` for a computation over ``graph``.

        Args:
            graph: what computes.
            cache: keys and values, with ``idle_rows`` slots more than rows.
            idle_rows: slots before the first row that only fill up steps, 0 or 1.
            cache_bytes: most bytes that ``cache`` may take; None: half of what is free when that is first asked.

        Raises:
            DeviceError, BundleError: after a fork, if the graph cannot be loaded again.
        """
        self.graph = graph
        self.cache = cache
        self._session = graph.ready()
        self._running = translated(  # ONNX Runtime's own errors share no base class
            DeviceError,
            f"ONNX Runtime could not compute with {graph.where}",
            "Lower batch_size or ask for shorter texts if memory is short; else try `llmb verify` on the bundle.",
        )
        self._idle = idle_rows
        self._cache_bytes = cache_bytes
        self._budget: int | None = None

    @property
    def prefill_chunk(self) -> int:
        """Most tokens of a prompt that are computed at once."""
        return PREFILL_CHUNK

    @property
    def border(self) -> int:
        """Where a prompt may be cut: anywhere, so that no part is a single token."""
        return 1

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        return self.cache.lengths[self._idle :]

    @property
    def budget(self) -> int:
        """Number of tokens that all rows together may hold; `sys.maxsize` where nothing is known of memory."""
        if self._budget is None:
            size, free = self._cache_bytes, self._free_memory()
            if size is None and free is not None:
                size = free // _SHARE
            self._budget = sys.maxsize if size is None else size // self.graph.bytes_per_token
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

        Raises:
            ConfigError: an id outside the vocabulary, which ONNX Runtime's kernels do not all look out for.
            DeviceError: there is no memory for them, or ONNX Runtime fails; the row keeps what it had or a part more.
        """
        check_ids("ids", ids, self.graph.facts.vocab_size)
        slot = row + self._idle
        self._reserve(slot + 1, self._length(slot) + len(ids))
        kept: list[FloatArray] = []
        done = 0
        past = self._length(slot)
        for size in chunk_sizes(len(ids), self.prefill_chunk, done=past, border=self.border):
            chunk = ids[done : done + size]
            done += size
            wanted = min(size, max(0, keep - (len(ids) - done)))
            logits = self._run_chunk(slot, chunk, max(wanted, 1))
            if wanted:
                kept.append(logits)
        return kept[0] if len(kept) == 1 else np.concatenate(kept)

    def step(self, tokens: Sequence[int]) -> LogitRows:
        """Append one token to each of the first ``len(tokens)`` rows.

        Returns:
            Logits of shape [len(tokens), vocab_size], overwritten by the next step.

        Raises:
            ConfigError: an id outside the vocabulary.
            DeviceError: there is no memory for them, or the device fails; the rows keep what they had.
        """
        raise NotImplementedError

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from ``length`` on; a row that is not there yet has none."""
        if (slot := row + self._idle) < self.cache.slots:
            self.cache.truncate(slot, length)

    def copy(self, source: int, target: int) -> None:
        """Make row ``target`` equal to row ``source``."""
        self._reserve(target + self._idle + 1, 0)
        self.cache.copy(source + self._idle, target + self._idle)

    def save(self, row: int) -> Any:
        """Keep what a row has computed."""
        return self.cache.save(row + self._idle)

    def load(self, row: int, saved: Any, length: int) -> None:
        """Begin a row with the first ``length`` tokens of a kept one."""
        slot = row + self._idle
        self._reserve(slot + 1, length)
        self.cache.load(slot, saved, length)

    def _free_memory(self) -> int | None:
        """Bytes that caches could still have; None where that is not known."""
        return recent_memory()

    def _length(self, slot: int) -> int:
        return self.cache.lengths[slot] if slot < self.cache.slots else 0

    def _reserve(self, slots: int, capacity: int) -> None:
        """Make room for so many slots and tokens."""
        raise NotImplementedError

    def _run_chunk(self, slot: int, ids: Sequence[int], keep: int) -> FloatArray:
        """Append one chunk to one slot; logits [keep, V]."""
        raise NotImplementedError
