"""Find the linear layers and the embedding of a graph, in every form that tracing and fusing leave them."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import INPUT_IDS
from llmbuilder_export.graph import addition_of, is_vector, is_weight, required, shape_of, tensor_of


@dataclass(frozen=True, eq=False, slots=True)
class Linear:
    """A linear layer with a constant weight: nodes that compute ``source @ weight (+ bias)``."""

    nodes: tuple[ir.Node, ...]
    """The multiplication, and the addition of the bias if that is a node of its own."""
    weight: ir.Value
    """An initializer, [N, K] or [K, N]."""
    rows_are_outputs: bool
    """Whether the weight lies as [N, K]."""
    bias: ir.Value | None
    """An initializer, [N]."""

    @property
    def source(self) -> ir.Value:
        """What is multiplied, [..., K]; another one where what computed it was replaced."""
        return required(self.nodes[0].inputs[0])

    @property
    def result(self) -> ir.Value:
        """What the layer computes, [..., N]."""
        return self.nodes[-1].outputs[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of outputs N and of inputs K."""
        rows, columns = shape_of(self.weight)
        return (rows, columns) if self.rows_are_outputs else (columns, rows)

    def matrix(self) -> FloatArray:
        """The weight as [N, K], a view where the tensor allows it."""
        array: FloatArray = tensor_of(self.weight).numpy()
        return array if self.rows_are_outputs else array.T


def find_linears(graph: ir.Graph) -> list[Linear]:
    """All linear layers with a float32 weight, in the order of the graph."""
    return [linear for node in graph if (linear := _linear(node)) is not None]


def find_embedding(graph: ir.Graph) -> ir.Node | None:
    """The Gather that looks the input ids up in a float32 table, if there is one."""
    for node in graph:
        table, ids = (*node.inputs, None, None)[:2]
        looks_up = node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 0
        if looks_up and _are_ids(ids) and is_weight(table, rank=2):
            return node
    return None


def feeding(values: Iterable[ir.Value | None], linears: Iterable[Linear]) -> set[Linear]:
    """The linear layers from which ``values`` are computed with no other linear layer in between."""
    makers = {linear.result: linear for linear in linears}
    reached: set[Linear] = set()
    waiting, seen = [value for value in values if value is not None], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        if value in makers:
            reached.add(makers[value])
        elif value not in seen and (node := value.producer()) is not None:
            seen.add(value)
            waiting += [source for source in node.inputs if source is not None]
    return reached


def _linear(node: ir.Node) -> Linear | None:
    transposed = False
    match node.domain, node.op_type:
        case "", "MatMul":
            pass
        case ("", "Gemm") | ("com.microsoft", "FusedMatMul") if _is_plain(node):
            transposed = bool(node.attributes.get_int("transB", 0))
        case _:
            return None
    source, weight, *rest = node.inputs
    if source is None or weight is None or not is_weight(weight, rank=2) or is_weight(source):
        return None
    outputs = shape_of(weight)[0 if transposed else 1]
    if rest and rest[0] is not None:  # Gemm's own bias
        vector = is_vector(rest[0], outputs)
        return Linear((node,), weight, transposed, rest[0]) if vector else None
    addition = addition_of(node, outputs)
    if addition is None:
        return Linear((node,), weight, transposed, None)
    return Linear((node, addition[0]), weight, transposed, addition[1])


def _are_ids(value: ir.Value | None) -> bool:
    """Whether ``value`` is the input ids, perhaps after a Reshape (GPT-2 has one that changes nothing)."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Reshape":
        return _are_ids(node.inputs[0])
    return value is not None and value.name == INPUT_IDS


def _is_plain(node: ir.Node) -> bool:
    """Whether Gemm or FusedMatMul only multiplies: nothing scaled, the left side not transposed."""
    scales = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    flips = (node.attributes.get_int(name, 0) for name in ("transA", "transBatchA", "transBatchB"))
    return scales == (1.0, 1.0) and not any(flips)
