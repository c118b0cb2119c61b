"""A loaded graph and the facts of its network, shared between threads; every call makes its own `Decoder` over it."""

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from llmbuilder import forking
from llmbuilder.bundle.manifest import GRAPH_NAME, CacheType, Manifest, ModelFacts
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.cache import HostCache
from llmbuilder.engine.decoder import Decoder
from llmbuilder.engine.head import find_head
from llmbuilder.engine.layout import read_layout
from llmbuilder.engine.session import Device, open_session
from llmbuilder.errors import BundleError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnxruntime

_ROUND = 64


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
        load_anew: "Callable[[], onnxruntime.InferenceSession] | None" = None,
    ) -> None:
        """Check that the session's inputs and outputs are those of a bundle's graph.

        Args:
            session: the loaded graph.
            facts: what the manifest says of it.
            where: the bundle, for messages.
            cache_type: type of the cache in the manifest.
            cache_bytes: most bytes that the cache of one computation may take; None: half of what is free when it
                begins.
            load_anew: makes another such session, for a forked child; None: there the model cannot be used.

        Raises:
            BundleError: graph and manifest contradict each other.
        """
        self.session = session
        self.facts = facts
        self.where = where
        self.cache_bytes = cache_bytes
        self.idle_rows = 0
        """Rows that stand idle before all others, so that no step has a row alone."""
        self.layout = read_layout(session, facts, cache_type, where)
        self.head = find_head(session, where)
        self._load_anew = load_anew
        self._has_forked = False
        forking.tell(self)

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
    ) -> Self:
        """Load the graph of a verified bundle: ``content``, or what its file holds now.

        Raises:
            DeviceError, BundleError: see `open_session`; or the graph is not the one the manifest describes.
        """

        def load(content: bytes | None) -> "onnxruntime.InferenceSession":
            return open_session(
                directory / GRAPH_NAME,
                built_for=manifest.device,
                device=device,
                threads=threads,
                content=content,
            )

        def load_anew() -> "onnxruntime.InferenceSession":
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
            load_anew=load_anew,
        )
        model.idle_rows = int(manifest.quantization == "int4" and alone_differs(model))
        return model

    def ready(self) -> "onnxruntime.InferenceSession":
        """The session; after a fork one of this process, because a child has none of its parent's threads.

        Raises:
            DeviceError, BundleError: it cannot be loaded again, see `open`.
        """
        if self._has_forked:
            with forking.LOADING:
                if self._has_forked:
                    self.session = self._loaded_anew()
                    self._has_forked = False
        return self.session

    def after_fork(self) -> None:
        """Load anew before the next computation."""
        self._has_forked = True

    def _loaded_anew(self) -> "onnxruntime.InferenceSession":
        if self._load_anew is None:
            raise DeviceError(
                f"The session over {self.where} belongs to the process that this one was forked from. "
                "Load the model after the fork."
            )
        return self._load_anew()

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
        slots = rows + self.idle_rows
        cache = HostCache(self.layout, slots=slots, capacity=rounded, limit=self.facts.context_length)
        return Decoder(self, cache)


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
    alone = decoder.step([0]).copy()
    decoder.truncate(0, 1)
    return not np.array_equal(alone[0], decoder.step([0, 0])[0])
