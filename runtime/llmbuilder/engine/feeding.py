"""What a run of the graph is fed from the process's memory, the same on every device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import INPUT_IDS, LOGITS, POSITION_IDS
from llmbuilder.engine.head import last_logits

if TYPE_CHECKING:
    import onnxruntime

Feeds = dict[str, npt.NDArray[np.int64]]
"""Arrays by the names of the inputs."""


def chunk_feeds(head: str, ids: Sequence[int], past: int, keep: int) -> Feeds:
    """Inputs without the mask: append ``ids`` to a row of ``past`` tokens, for the logits of the last ``keep``."""
    return {
        INPUT_IDS: np.array([ids], np.int64),
        POSITION_IDS: np.arange(past, past + len(ids), dtype=np.int64)[None],
        head: last_logits(head, keep),
    }


def bind_arrays(
    binding: "onnxruntime.IOBinding", feeds: Mapping[str, npt.NDArray[np.int64]], logits: FloatArray
) -> None:
    """Bind inputs, and where the logits go. The binding keeps raw pointers: all arrays must outlive its runs."""
    import onnxruntime as ort

    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    binding.bind_ortvalue_output(LOGITS, ort.OrtValue.ortvalue_from_numpy(logits))
