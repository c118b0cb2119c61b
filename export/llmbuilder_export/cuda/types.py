"""The element type of every value of a graph, from its inputs and weights on."""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from llmbuilder_export.graph import required

Types = dict[ir.Value, ir.DataType]

_COMPARISONS = frozenset(["And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"])
_Rule = Callable[[ir.Node, Types], Sequence[ir.DataType]]


def element_types(graph: ir.Graph) -> Types:
    """Types of all values that have a name to be read by.

    Raises:
        ValueError: an input or a weight has no type.
    """
    types = {value: _stated(value) for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph:
        rule = _RULES.get(node.op_type, _as_first)
        for index, value in enumerate(node.outputs):
            found = rule(node, types)
            types[value] = found[min(index, len(found) - 1)]
    return types


def _stated(value: ir.Value) -> ir.DataType:
    if value.dtype is None:
        raise ValueError(f"{value.name} has no type")
    return value.dtype


def _as_first(node: ir.Node, types: Types) -> Sequence[ir.DataType]:
    """The type of what is computed with, which all operators of bundles take first if they have no rule here."""
    return [types[required(node.inputs[0])]]


def _attention(node: ir.Node, types: Types) -> Sequence[ir.DataType]:
    """What is attended to is of the queries' type, keys and values of their cache's."""
    return [types[required(node.inputs[index])] for index in (0, 3, 4)]


def _always(kind: ir.DataType) -> _Rule:
    return lambda _node, _types: [kind]


def _as_input(index: int) -> _Rule:
    return lambda node, types: [types[required(node.inputs[index])]]


_RULES: dict[str, _Rule] = {
    "Cast": lambda node, _: [ir.DataType(node.attributes.get_int("to", 0))],
    "ConstantOfShape": _always(ir.DataType.FLOAT),
    "GatherBlockQuantized": _as_input(2),
    "GroupQueryAttention": _attention,
    "Shape": _always(ir.DataType.INT64),
    "TopK": lambda node, types: [types[required(node.inputs[0])], ir.DataType.INT64],
    "Where": _as_input(1),
} | dict.fromkeys(_COMPARISONS, _always(ir.DataType.BOOL))
