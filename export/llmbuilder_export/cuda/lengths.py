"""Let attention take the length of each row from its positions instead of from the mask."""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from llmbuilder.bundle.manifest import ATTENTION_MASK, POSITION_IDS
from llmbuilder.errors import ExportError
from llmbuilder_export.graph import add_initializer, nodes_of

_LENGTHS_INPUT = 5
"""Of GroupQueryAttention, its ``seqlens_k``: the index of each row's last token."""


def lengths_from_positions(model: ir.Model, architecture: str) -> None:
    """Count tokens by the last position of each row, and drop what summed up the mask.

    Only the mask's width is read afterwards, which is known before a run: a mask on a device is never written again.

    Raises:
        ExportError: the model reads the mask for something else.
    """
    graph = model.graph
    named = {value.name: value for value in graph.inputs}
    index = add_initializer(graph, "last_position_index", np.array(-1, np.int64))
    last = ir.node("Gather", [named[POSITION_IDS], index], {"axis": 1}, name="last_positions")
    lengths = ir.node("Cast", [last.outputs[0]], {"to": int(ir.DataType.INT32)}, name="past_lengths")
    for node in (last, lengths):
        node.outputs[0].name = f"{node.name}_out"
    graph.insert_before(graph[0], [last, lengths])
    for attention in nodes_of(graph, "GroupQueryAttention"):
        attention.replace_input_with(_LENGTHS_INPUT, lengths.outputs[0])
    RemoveUnusedNodesPass()(model)
    readers = {use.node.op_type for use in named[ATTENTION_MASK].uses()} - {"Shape"}
    if readers:
        raise ExportError(
            f"{architecture} cannot be exported for cuda: it reads the attention mask with "
            f"{', '.join(sorted(readers))}. Export it for cpu."
        )
