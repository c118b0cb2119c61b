"""How a graph is told which positions' logits to compute, in the two forms that bundles have had.

Both are inputs with a default, so that a program that does not know them gets the last position's logits. The newer
one is the start of a Slice itself, so that nothing is computed with it on any device.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llmbuilder.bundle.manifest import LOGITS_START, LOGITS_TO_KEEP
from llmbuilder.errors import BundleError

if TYPE_CHECKING:
    import onnxruntime


def find_head(session: "onnxruntime.InferenceSession", where: object) -> str:
    """The name of the input that says which logits are wanted, in the graph of the bundle ``where``.

    Raises:
        BundleError: the graph has neither.
    """
    known = {node.name for node in (*session.get_inputs(), *session.get_overridable_initializers())}
    for name in (LOGITS_START, LOGITS_TO_KEEP):
        if name in known:
            return name
    raise BundleError(
        f"The graph of {where} lacks {LOGITS_START}: it is not the one its manifest describes. "
        "Copy the whole bundle again, or export the model again."
    )


def last_logits(head: str, count: int) -> npt.NDArray[np.int64]:
    """What to feed that input for the logits of the last ``count`` positions."""
    return np.array([-count] if head == LOGITS_START else count, np.int64)
