"""What all passes over a traced graph need: its weights, and one node in the place of another."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_IN_SEQUENCES = frozenset(["Gather", "GroupQueryAttention"])
"""Operators whose results are [batch, sequence, ...]."""


def nodes_of(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    """The nodes of an operator, in order."""
    return [node for node in graph if node.op_type == op_type]


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes ``value``, if it is of that operator."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type else None


def is_weight(value: ir.Value | None, rank: int | None = None) -> bool:
    """Whether ``value`` is a float32 initializer of that rank which nobody can override."""
    if value is None or value.const_value is None or value.is_graph_input():
        return False
    tensor = value.const_value
    return tensor.dtype == ir.DataType.FLOAT and rank in (None, len(tensor.shape))


def tensor_of(weight: ir.Value) -> ir.TensorProtocol:
    """The content of an initializer; `ValueError` if the value is none."""
    if weight.const_value is None:
        raise ValueError(f"{weight.name} is not a constant")
    return weight.const_value


def shape_of(weight: ir.Value) -> tuple[int, ...]:
    """The shape of an initializer."""
    return tuple(tensor_of(weight).shape.numpy())


def name_of(value: ir.Value) -> str:
    """The name of a value; `ValueError` if it has none."""
    if value.name is None:
        raise ValueError(f"{value} has no name")
    return value.name


def required(value: ir.Value | None) -> ir.Value:
    """An input that the operator's definition requires; `ValueError` if it is not there."""
    if value is None:
        raise ValueError("an operator lacks a required input")
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """An input that the node may lack."""
    return node.inputs[index] if index < len(node.inputs) else None


def rank_of(value: ir.Value) -> int:
    """Dimensions of what layers read: 3, or 2 where networks put the tokens of all sequences one below the other.

    4 where they put what they share before its heads.
    """
    while (node := value.producer()) is not None and node.op_type not in _IN_SEQUENCES:
        if node.op_type == "Reshape":
            return _entries(required(node.inputs[1]))
        computed = [each for each in node.inputs if each is not None and each.producer() is not None]
        if not computed:
            break
        value = computed[0]
    return 3


def _entries(shape: ir.Value) -> int:
    """How many numbers a shape has: a constant, or lengths that Concat puts together one by one."""
    if shape.const_value is not None:
        return shape.const_value.size
    node = producer(shape, "Concat")
    return 3 if node is None else len(node.inputs)


def addition_of(matmul: ir.Node, size: int) -> tuple[ir.Node, ir.Value] | None:
    """The Add of a constant vector [size] that is the only use of a MatMul, and that vector."""
    users = list(matmul.outputs[0].uses())
    if len(users) != 1 or users[0].node.op_type != "Add" or matmul.outputs[0].is_graph_output():
        return None
    add, bias = users[0].node, users[0].node.inputs[1 - users[0].idx]
    return (add, bias) if bias is not None and is_vector(bias, size) else None


def is_vector(value: ir.Value, size: int) -> bool:
    """Whether ``value`` is a weight [size]."""
    return is_weight(value, rank=1) and shape_of(value) == (size,)


def add_initializer(
    graph: ir.Graph, name: str, content: npt.NDArray[np.generic] | ir.TensorProtocol
) -> ir.Value:
    """Register a constant."""
    tensor = ir.tensor(content, name=name) if isinstance(content, np.ndarray) else content
    shape = ir.Shape(tensor.shape.numpy())
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_lazy(
    graph: ir.Graph, name: str, made: Callable[[], npt.NDArray[np.float32]], shape: Sequence[int]
) -> ir.Value:
    """Register a weight that exists only while it is read: no second copy of the model is ever in memory."""
    tensor = ir.LazyTensor(
        lambda: ir.tensor(made()), dtype=ir.DataType.FLOAT, shape=ir.Shape(shape), name=name
    )
    return add_initializer(graph, name, tensor)


def name_nodes(graph: ir.Graph) -> None:
    """Name nodes by what they do and where they stand; a tracer's numbers tell what else the process has traced."""
    for index, node in enumerate(graph):
        node.name = f"{node.op_type}_{index}"


def drop_unread(graph: ir.Graph, weight: ir.Value) -> bool:
    """Take an initializer out of the graph if nothing reads it; return whether nothing did."""
    if weight.uses():
        return False
    del graph.initializers[name_of(weight)]
    return True


def replace(graph: ir.Graph, old: Sequence[ir.Node], new: Sequence[ir.Node]) -> None:
    """Put nodes in the place of others that end in the same value."""
    before, after = old[-1].outputs[0], new[-1].outputs[0]
    describe(after, before)
    graph.insert_before(old[-1], new)
    before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def describe(value: ir.Value, like: ir.Value) -> None:
    """Give a value the name, shape and type of another."""
    value.name, value.shape, value.type = like.name, like.shape, like.type


def release(graph: ir.Graph, weight: ir.Value) -> None:
    """Drop a weight that nothing reads any more."""
    if drop_unread(graph, weight):
        weight.const_value = None
