"""Store weights and cache of a graph in half precision, and compute in it.

Weights made here are lazy tensors, rounded while they are written: no second copy of the model is ever in memory.
"""

import numpy as np
import onnx_ir as ir

from llmbuilder.bundle.manifest import LOGITS
from llmbuilder.errors import ExportError
from llmbuilder_export.cuda.precision import half_nodes, is_constant
from llmbuilder_export.cuda.types import element_types
from llmbuilder_export.graph import describe, name_of, tensor_of

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_LARGEST = float(np.finfo(np.float16).max)


def to_half(graph: ir.Graph, architecture: str) -> None:
    """Compute in float16 wherever that is exact enough; see `llmbuilder_export.cuda.precision`.

    Inputs and outputs that hold the cache become float16, the logits stay float32.

    Raises:
        ExportError: float16 cannot hold a weight.
    """
    half = half_nodes(graph)
    floats = {value for value, kind in element_types(graph).items() if kind == FLOAT}
    for value in (*graph.inputs, *graph.outputs):
        if value in floats and value.name != LOGITS:
            value.type = ir.TensorType(HALF)  # not its dtype, which is that of clones as well
    _halve_weights(graph, half, architecture)
    _cast_between(graph, half, floats)
    _cast_logits(graph, half)


def _halve_weights(graph: ir.Graph, half: set[ir.Node], architecture: str) -> None:
    """Round what half precision reads; what is read in both ways is stored twice."""
    for weight in [each for each in graph.initializers.values() if is_constant(each)]:
        if weight.dtype != FLOAT:
            continue
        users = [use for use in weight.uses() if use.node in half]
        if len(users) == len(weight.uses()):
            _round(weight, weight, architecture)
        elif users:
            copy = ir.Value(name=f"{weight.name}_half", shape=weight.shape)
            _round(copy, weight, architecture)
            graph.register_initializer(copy)
            for use in users:
                use.node.replace_input_with(use.idx, copy)


def _round(target: ir.Value, weight: ir.Value, architecture: str) -> None:
    """Make ``target`` the weight in half precision."""
    exact, name = tensor_of(weight), name_of(target)
    numbers = exact.numpy()
    if _LARGEST < (largest := max(numbers.max(), -numbers.min())) < np.inf:
        raise ExportError(
            f"{architecture} cannot be exported for cuda: {name} holds {largest:.3g}, and half precision ends at "
            f"{_LARGEST:.0f}. Export it for cpu (--device cpu)."
        )
    target.const_value = ir.LazyTensor(
        lambda: ir.tensor(exact.numpy().astype(np.float16)),
        dtype=HALF,
        shape=ir.Shape(exact.shape.numpy()),
        name=name,
    )
    target.type = ir.TensorType(HALF)


def _cast_between(graph: ir.Graph, half: set[ir.Node], floats: set[ir.Value]) -> None:
    """Convert each value once that is computed in one precision and read in the other."""
    casts: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if node.op_type in ("Cast", "Shape"):
            continue
        for index, value in enumerate(node.inputs):
            maker = value.producer() if value is not None else None
            if value not in floats or maker is None or (maker in half) == (node in half):
                continue
            if value not in casts:
                casts[value] = _cast(graph, maker, value, HALF if node in half else FLOAT)
            node.replace_input_with(index, casts[value])


def _cast(graph: ir.Graph, maker: ir.Node, value: ir.Value, kind: ir.DataType) -> ir.Value:
    cast = ir.node("Cast", [value], {"to": int(kind)}, name=f"{value.name}_cast")
    cast.outputs[0].name = f"{value.name}_{kind.name.lower()}"
    graph.insert_after(maker, cast)
    return cast.outputs[0]


def _cast_logits(graph: ir.Graph, half: set[ir.Node]) -> None:
    """Give out float32, which every program can read and NumPy computes with fast."""
    logits = next(value for value in graph.outputs if value.name == LOGITS)
    maker = logits.producer()
    if maker is None or maker not in half:
        return
    exact = _cast(graph, maker, logits, FLOAT)
    describe(exact, logits)
    logits.name, logits.shape, logits.type = f"{LOGITS}_half", None, None
    graph.outputs[list(graph.outputs).index(logits)] = exact
