"""Follow which values lie on the card and which beside it: no graph may copy one to the other in the middle of a run.

A copy waits for the card, and a captured CUDA graph cannot hold it. Beside the card are shapes, what is computed of
them, and the start of the logits; kernels take some of their inputs from there.
"""

from collections.abc import Mapping

import onnx_ir as ir

from llmbuilder.bundle.manifest import LOGITS_START
from llmbuilder.errors import ExportError
from llmbuilder_export.cuda.precision import is_constant

_READ_BESIDE: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "GroupQueryAttention": (6,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that the CUDA provider's kernels read in the processor's memory, by their InputMemoryType in
onnxruntime/core/providers/cuda and onnxruntime/contrib_ops/cuda."""


def refuse_copies(graph: ir.Graph, architecture: str) -> None:
    """Raise if a run would copy values between the card and the processor's memory.

    Raises:
        ExportError: a node reads a value where it is not.
    """
    beside = {value for value in graph.inputs if value.name == LOGITS_START}
    for node in graph:
        taken = _READ_BESIDE.get(node.op_type, ())
        computed = {
            index: value
            for index, value in enumerate(node.inputs)
            if value is not None and (value in beside or not is_constant(value))
        }
        if node.op_type == "Shape" or _is_beside(computed, taken, beside):
            beside |= set(node.outputs)
        elif any((i in taken) != (value in beside) for i, value in computed.items()):
            raise ExportError(
                f"{architecture} cannot be exported for cuda: at {node.op_type} ({node.name}) every step would wait "
                "for a copy between the card and the processor. Export it for cpu (--device cpu)."
            )


def _is_beside(computed: Mapping[int, ir.Value], taken: tuple[int, ...], beside: set[ir.Value]) -> bool:
    """Whether a node computes with shapes only, as the processor then does."""
    return beside.issuperset(computed.values()) and not computed.keys() <= set(taken)
