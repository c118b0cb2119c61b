"""A loaded graph, checked against the facts of its network; after a fork it is loaded anew."""

from typing import TYPE_CHECKING

from llmbuilder import forking
from llmbuilder.bundle.manifest import CacheType, ModelFacts
from llmbuilder.engine.head import find_head
from llmbuilder.engine.hugepages import HugePages
from llmbuilder.engine.layout import read_layout
from llmbuilder.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnxruntime


class LoadedGraph:
    """One ONNX Runtime session and the facts of its network."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        facts: ModelFacts,
        *,
        where: object = "the model",
        cache_type: CacheType = "float32",
        load_anew: "Callable[[], onnxruntime.InferenceSession] | None" = None,
        pages: HugePages | None = None,
    ) -> None:
        """Check that the session's inputs and outputs are those of a bundle's graph.

        Args:
            session: the loaded graph.
            facts: what the manifest says of it.
            where: the bundle, for messages.
            cache_type: type of the cache in the manifest.
            load_anew: makes another such session, for a forked child; None: there the graph cannot be used.
            pages: what the session filled, to be moved to huge pages; None: nothing.

        Raises:
            BundleError: graph and manifest contradict each other.
        """
        self.session = session
        self.facts = facts
        self.where = where
        self.layout = read_layout(session, facts, cache_type, where)
        self.head = find_head(session, where)
        self.pages = pages or HugePages()
        self._load_anew = load_anew
        self._has_forked = False
        forking.tell(self)

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token takes in the cache."""
        return sum(tensor.bytes_per_token for tensor in self.layout)

    def ready(self) -> "onnxruntime.InferenceSession":
        """The session; after a fork one of this process, because a child has none of its parent's threads.

        Raises:
            DeviceError, BundleError: it cannot be loaded again, see `Model.open`.
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
