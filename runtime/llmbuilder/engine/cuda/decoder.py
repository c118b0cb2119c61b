"""A computation on a CUDA device: keys and values stay there, tokens go in and logits come back."""

from collections.abc import Sequence

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.prompt import check_ids
from llmbuilder.decoding.remote import LogitRows
from llmbuilder.engine.cuda.cache import DeviceCache, SavedRow
from llmbuilder.engine.cuda.choice import StepLogits
from llmbuilder.engine.cuda.workspace import Workspaces
from llmbuilder.engine.decoder import Decoder
from llmbuilder.engine.graph import LoadedGraph

DEVICE_CHUNK = 2048
"""Tokens of a prompt computed at once: below, kernels do not fill a card."""


class DeviceDecoder(Decoder):
    """A decoder over workspaces of a device. Steps always compute all rows of the workspace."""

    cache: DeviceCache

    def __init__(
        self,
        graph: LoadedGraph,
        workspaces: Workspaces,
        *,
        rows: int,
        capacity: int,
        cache_bytes: int | None = None,
    ) -> None:
        """Borrow room for ``rows`` sequences of ``capacity`` tokens.

        Args:
            graph: what computes.
            workspaces: its memory.
            rows: sequences to have room for at first.
            capacity: tokens of each to have room for at first.
            cache_bytes: most bytes that the tokens of all rows may take; None: half of what the device has free.

        Raises:
            DeviceError: the device does not have so much free, or this process was forked from the one that uses it.
        """
        graph.ready()
        cache = DeviceCache(workspaces, slots=rows, capacity=capacity, limit=graph.facts.context_length)
        super().__init__(graph, cache, cache_bytes=cache_bytes)
        self._workspaces = workspaces

    @property
    def prefill_chunk(self) -> int:
        """Most tokens of a prompt that are computed at once."""
        return DEVICE_CHUNK

    @property
    def border(self) -> int:
        """Where a prompt may be cut. Elsewhere a card takes other kernels, or plans them otherwise."""
        return DEVICE_CHUNK if self._workspaces.deterministic else 1

    def step(self, tokens: Sequence[int]) -> LogitRows:
        """Append one token to each of the first ``len(tokens)`` rows; logits [rows, V], on the device unless few."""
        check_ids("tokens", tokens, self.graph.facts.vocab_size)
        rows = len(tokens)
        self._reserve(rows, max(self.cache.lengths[:rows]) + 1)
        with self._workspaces.lock, self._running:
            output = self.cache.workspace.step(tokens, self.cache.lengths)
        self.cache.extend(0, rows, 1)
        logits = StepLogits(output, rows, self._workspaces.lock)
        return logits.whole if output.is_small else logits

    def _free_memory(self) -> int | None:
        free = self._workspaces.place.free_bytes()
        return None if free is None else free + self._workspaces.idle_bytes + self.cache.workspace.slab.size

    def save(self, row: int) -> SavedRow:
        """Keep what a row has computed, on the device."""
        self.graph.ready()
        return self.cache.save(row)

    def _reserve(self, slots: int, capacity: int) -> None:
        self.graph.ready()  # in a forked child nothing of the device may be touched, not even a lock
        self.cache.reserve(slots=slots, capacity=capacity)

    def _run_chunk(self, slot: int, ids: Sequence[int], keep: int) -> FloatArray:
        with self._workspaces.lock, self._running:
            logits = self.cache.workspace.prefill(slot, ids, self.cache.lengths[slot], keep)
        self.cache.extend(slot, 1, len(ids))
        return logits
