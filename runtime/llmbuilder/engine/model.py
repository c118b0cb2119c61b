"""A loaded graph that computes, shared between threads; every call makes its own `Decoder` over it."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmbuilder.bundle.manifest import GRAPH_NAME, Manifest, ModelFacts
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.cache import HostCache
from llmbuilder.engine.graph import LoadedGraph
from llmbuilder.engine.host import HostDecoder
from llmbuilder.engine.hugepages import HugePages
from llmbuilder.engine.session import Device, card_index, check_execution, open_session
from llmbuilder.engine.threads import usable_threads
from llmbuilder.errors import BundleError, DeviceError

if TYPE_CHECKING:
    import onnxruntime

    from llmbuilder.engine.cuda.place import Place
    from llmbuilder.engine.decoder import Decoder

_ROUND = 64


class Model(LoadedGraph):
    """A loaded graph, and how much may be computed with it."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        facts: ModelFacts,
        *,
        cache_bytes: int | None = None,
        place: "Place | None" = None,
        deterministic: bool = True,
        **graph: Any,
    ) -> None:
        """Take a session as a `LoadedGraph`, whose arguments ``graph`` are.

        Args:
            session: the loaded graph.
            facts: what the manifest says of it.
            cache_bytes: most bytes that the cache of one computation may take; None: half of what is free when it
                begins.
            place: the device that the session is on; None: the process's own memory.
            deterministic: on a device, compute steps with few different numbers of rows.
            graph: where it is from, the type of its cache, how it is loaded anew.

        Raises:
            BundleError: graph and manifest contradict each other.
        """
        super().__init__(session, facts, **graph)
        self.cache_bytes = cache_bytes
        self.idle_rows = 0
        """Rows that stand idle before all others, so that no step has a row alone."""
        self._workspaces = None
        if place is not None:
            from llmbuilder.engine.cuda.workspace import Workspaces

            self._workspaces = Workspaces(self, place, deterministic=deterministic)

    @property
    def graphs_captured(self) -> int:
        """Number of CUDA graphs that steps are replayed from; 0 on a CPU."""
        return 0 if self._workspaces is None else self._workspaces.graphs_captured

    @classmethod
    def open(
        cls,
        directory: Path,
        manifest: Manifest,
        *,
        device: Device = "auto",
        threads: int | None = None,
        cache_bytes: int | None = None,
        content: bytes | None = None,
        deterministic: bool = True,
    ) -> Self:
        """Load the graph of a verified bundle: ``content``, or what its file holds now.

        Raises:
            DeviceError, BundleError: see `open_session`; or the graph is not the one the manifest describes.
        """
        check_execution(device, threads)
        index, pages = card_index(directory, manifest.device, device), HugePages()

        def load(content: bytes | None) -> "onnxruntime.InferenceSession":
            with pages.filled() if index is None else nullcontext():
                return open_session(
                    directory / GRAPH_NAME,
                    built_for=manifest.device,
                    device=device,
                    threads=threads if index is not None else usable_threads(manifest.model, threads),
                    content=content,
                    deterministic=deterministic,
                    widened=_widened(manifest),
                )

        def load_anew() -> "onnxruntime.InferenceSession":
            if index is not None:
                raise DeviceError(
                    f"{directory} was loaded on cuda:{index} before this process was forked, and CUDA cannot be "
                    "used in forked processes. Load the model after the fork, or start processes with 'spawn'."
                )
            bundle = open_bundle(directory)
            if bundle.manifest != manifest:
                raise BundleError(
                    f"{directory} is another bundle than the one that this process's parent had loaded. "
                    "Open it again in this process."
                )
            session = load(bundle.graph_content)
            bundle.check_unchanged()
            return session

        model = cls(
            load(content),
            manifest.model,
            where=directory,
            cache_type=manifest.kv_cache,
            cache_bytes=cache_bytes,
            place=None if index is None else _card(index),
            deterministic=deterministic,
            load_anew=load_anew,
            pages=pages,
        )
        if index is None:
            model.idle_rows = int(manifest.quantization == "int4" and alone_differs(model))
        return model

    def decoder(self, *, rows: int = 1, capacity: int = 256, max_rows: int = 0) -> "Decoder":
        """Start a computation with room for ``rows`` sequences of ``capacity`` tokens; both grow by themselves.

        A device computes steps of ``max_rows`` from the beginning, so that their number changes nothing.

        Raises:
            DeviceError: the system does not give so much memory.
        """
        if self._workspaces is not None:
            from llmbuilder.engine.cuda.decoder import DeviceDecoder

            return DeviceDecoder(
                self,
                self._workspaces,
                rows=max(rows, max_rows),
                capacity=capacity,
                cache_bytes=self.cache_bytes,
            )
        rounded = -(-max(capacity, 1) // _ROUND) * _ROUND
        slots = rows + self.idle_rows
        cache = HostCache(self.layout, slots=slots, capacity=rounded, limit=self.facts.context_length)
        return HostDecoder(self, cache, idle_rows=self.idle_rows, cache_bytes=self.cache_bytes)


def _card(index: int) -> "Place":
    from llmbuilder.engine.cuda.place import Place

    return Place("cuda", index)


def alone_differs(model: Model) -> bool:
    """Whether a step of one row rounds differently from the same row beside another, as this is tried out.

    Products with 4-bit weights do on processors without AVX-512: a row alone has a kernel of its own there, two rows
    and any number above have the same.
    """
    if model.facts.context_length < 2:
        return False
    decoder = model.decoder(rows=2)
    decoder.prefill(0, [0])
    decoder.copy(0, 1)
    alone = np.array(decoder.step([0]))
    decoder.truncate(0, 1)
    return not np.array_equal(alone[0], np.array(decoder.step([0, 0]))[0])


def _widened(manifest: Manifest) -> bool:
    """Whether signed weights must be made unsigned here; other bundles have none, and need not find out."""
    if manifest.quantization != "w8a8":
        return False
    from llmbuilder.engine.products import sums_overflow

    return sums_overflow()
