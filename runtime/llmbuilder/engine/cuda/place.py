"""Where memory lies: a CUDA device, or in tests the process itself, through the same calls."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llmbuilder import forking
from llmbuilder.engine.cuda.card import card
from llmbuilder.engine.cuda.starting import quietly
from llmbuilder.engine.session import session_options
from llmbuilder.errors import DeviceError, translated

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, slots=True)
class Place:
    """A device by ONNX Runtime's name for its kind, and its number among those."""

    kind: str = "cuda"
    index: int = 0

    def __str__(self) -> str:
        """As users name it."""
        return f"{self.kind}:{self.index}"

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> "onnxruntime.OrtValue":
        """Memory for an array, whose content is undefined.

        Raises:
            DeviceError: the device does not have so much free.
        """
        import onnxruntime as ort

        kind = np.dtype(dtype)
        with self._asked(
            f"could not give {math.prod(shape) * kind.itemsize:,} bytes",
            "Lower batch_size, num_beams or num_return_sequences, ask for shorter texts, or export the model again "
            "with a smaller --max-context.",
        ):
            value = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), kind.type, self.kind, self.index)
        forking.never_end_in_children(value)
        return value

    def zeros(self, shape: Sequence[int], dtype: npt.DTypeLike) -> "onnxruntime.OrtValue":
        """A small array of zeros, copied from the process.

        Raises:
            DeviceError: the device does not have so much free.
        """
        value = self.empty(shape, dtype)
        value.update_inplace(np.zeros(shape, dtype))
        return value

    def free_bytes(self) -> int | None:
        """What the device has free; None where that is not known."""
        return _free_bytes(self.index, int(time.monotonic())) if self.kind == "cuda" else None

    def total_bytes(self) -> int | None:
        """What the device has; None where that does not matter."""
        return _total_bytes(self.index) if self.kind == "cuda" else None

    def session(self, graph: bytes, *, captured: bool = False) -> "onnxruntime.InferenceSession":
        """A small graph of our own, loaded on this device; one that is ``captured`` runs with `run_options`.

        Raises:
            DeviceError: the device does not take it.
        """
        import onnxruntime as ort

        providers: list[Any] = ["CPUExecutionProvider"]
        if self.kind == "cuda":
            settings = {
                "device_id": str(self.index),
                "use_tf32": "0",
                "enable_cuda_graph": str(int(captured)),
            }
            providers = [("CUDAExecutionProvider", settings)]
        advice = "Free memory on it, or take another card (cuda:N)."
        with self._asked("could not load a helper graph", advice), quietly(ort):
            session = ort.InferenceSession(
                graph, session_options(ort, 1), providers=providers, enable_fallback=False
            )
        forking.never_end_in_children(session)
        return session

    def run_options(self, number: int) -> "onnxruntime.RunOptions":
        """Options of a run that is captured as the graph with this number, from 1, and then replayed; -1: never."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(number))
        return options

    def computing(self) -> translated:
        """A block in which the device computes or copies: what fails there is a `DeviceError`."""
        return self._asked(
            "failed", "Lower batch_size, or ask for shorter texts; `llmb info` shows what is free."
        )

    def _asked(self, what: str, advice: str) -> translated:
        return translated(DeviceError, f"{self} {what}", advice)


@lru_cache
def _total_bytes(index: int) -> int:
    return card(index).total_bytes


@lru_cache(4)
def _free_bytes(index: int, _second: int) -> int:
    """What a card had free in this second: asking the driver takes as long as a step."""
    return card(index).free_bytes
