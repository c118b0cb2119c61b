"""Sums of a row that have the same bits wherever the row lies in memory.

ONNX Runtime adds a row up from its first aligned number on: unless its length is a multiple of four, where it lies in a
batch decides the order. A product with a constant column has a fixed order.
"""

import numpy as np
import onnx_ir as ir

from llmbuilder_export.graph import MICROSOFT, add_initializer, nodes_of, replace, required, tensor_of

_SUMS = ("ReduceMean", "ReduceSum")
_ALIGNED = 4
_ONE_BY_ONE = 3
"""Numbers of a row that are added one after the other in any case."""


def fix_order(graph: ir.Graph) -> None:
    """Let rows of floating-point numbers be summed up, and averaged, by products."""
    for op_type in _SUMS:
        for node in nodes_of(graph, op_type):
            size = _row(node)
            if size is not None and size > _ONE_BY_ONE and size % _ALIGNED:
                _multiply(graph, node, size)


def is_sum(node: ir.Node) -> bool:
    """Whether a node only adds up what it reads, or is the product in the place of such a node."""
    scale = node.attributes.get_float("alpha", 1.0) if node.op_type == "FusedMatMul" else 1.0
    return node.op_type in _SUMS or scale != 1.0


def _row(node: ir.Node) -> int | None:
    """How many numbers are added, if they are a row's."""
    source = required(node.inputs[0])
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if source.dtype != ir.DataType.FLOAT or source.shape is None or axes is None or axes.const_value is None:
        return None
    last, size = len(source.shape) - 1, source.shape[-1]
    return size if tensor_of(axes).numpy().tolist() in ([-1], [last]) and isinstance(size, int) else None


def _multiply(graph: ir.Graph, node: ir.Node, size: int) -> None:
    """Put a product of each row with a column in the place of a node.

    It is scaled, which is exact for a sum, as no product with the weight of a layer is: nothing quantizes it.
    """
    number, scale = (1.0, 1 / size) if node.op_type == "ReduceMean" else (0.5, 2.0)
    column = add_initializer(graph, f"{node.name}_column", np.full((size, 1), number, np.float32))
    inputs = [node.inputs[0], column]
    nodes = [ir.node("FusedMatMul", inputs, {"alpha": scale}, domain=MICROSOFT, name=node.name)]
    if not node.attributes.get_int("keepdims", 1):
        product = nodes[0].outputs[0]
        product.name = f"{node.name}_kept"
        last = add_initializer(graph, f"{node.name}_last", np.array([-1], np.int64))
        nodes.append(ir.node("Squeeze", [product, last], name=f"{node.name}_squeezed"))
    replace(graph, [node], nodes)
