"""Decide which nodes of a float32 graph compute in half precision, and which stay exact.

Half precision holds numbers up to 65504 with eleven binary digits: enough for what flows from token to token, too few
to count positions beyond 2048 or to sum up squares. So three kinds of nodes stay in float32: what is computed of
positions alone, squares that are summed up (norms) until the sum meets half precision again, and what is done to the
logits after the head's product.
"""

from collections.abc import Iterator

import onnx_ir as ir

from llmbuilder.bundle.manifest import LOGITS, PAST
from llmbuilder_export.cuda.types import element_types
from llmbuilder_export.graph import tensor_of
from llmbuilder_export.reductions import is_sum

_LOOKUPS = frozenset({"Gather", "GatherBlockQuantized"})
_ELEMENTWISE = frozenset(["Add", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Sub", "Tanh"])
_CACHE = PAST.partition("{")[0]


def half_nodes(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that read, or look up, what is to be stored in half precision."""
    types = element_types(graph)
    exact = {*_after_head(graph), *_summed_squares(graph)}
    rounded = {value for value in graph.inputs if (value.name or "").startswith(_CACHE)}
    half = set[ir.Node]()
    for node in graph:
        if node not in exact and (_reads_weights_only(node) or not rounded.isdisjoint(node.inputs)):
            half.add(node)
            rounded |= {value for value in node.outputs if types[value] == ir.DataType.FLOAT}
    return half


def is_constant(value: ir.Value | None) -> bool:
    """Whether ``value`` is an initializer that nobody can override."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def _reads_weights_only(node: ir.Node) -> bool:
    """Whether the floats a node reads are stored ones: a table that is looked up, or one in another shape."""
    if node.op_type in _LOOKUPS:
        return is_constant(node.inputs[0])
    return all(is_constant(value) for value in node.inputs if value is not None)


def _after_head(graph: ir.Graph) -> Iterator[ir.Node]:
    """The elementwise nodes between the last product and the logits, from the end on."""
    value = next(output for output in graph.outputs if output.name == LOGITS)
    while (node := value.producer()) is not None and node.op_type in _ELEMENTWISE:
        computed = [each for each in node.inputs if each is not None and not is_constant(each)]
        if len(computed) != 1:
            return
        yield node
        value = computed[0]


def _summed_squares(graph: ir.Graph) -> Iterator[ir.Node]:
    """The squares of which nothing but sums are made."""
    for node in graph:
        users = [use.node for use in node.outputs[0].uses()] if node.outputs else []
        if users and all(map(is_sum, users)) and _is_square(node):
            yield node


def _is_square(node: ir.Node) -> bool:
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    power = node.inputs[1] if node.op_type == "Pow" else None
    return power is not None and is_constant(power) and bool((tensor_of(power).numpy() == 2).all())
