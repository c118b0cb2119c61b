"""The experts of a traced graph, in the order that ONNX Runtime's operator wants, and safe from each other's company.

Its kernel for a single row rounds otherwise than those for more, as long as weights have 4 bits or 32: there every
row is computed twice, so that no expert ever has a single one.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder_export.graph import (
    add_lazy,
    describe,
    name_of,
    nodes_of,
    optional,
    required,
    shape_of,
    tensor_of,
)
from llmbuilder_export.networks.experts import INTERLEAVED, TRANSPOSED
from llmbuilder_export.quantize.layers import Linear, feeding

ROWS, CHOICE, FIRST, FIRST_BIAS, SECOND, SECOND_BIAS = range(6)
"""Inputs of the operator MoE."""


def routers(graph: ir.Graph, linears: list[Linear]) -> set[Linear]:
    """The linear layers that choose experts: tiny, and a small error in them is a large one behind."""
    return feeding([node.inputs[CHOICE] for node in nodes_of(graph, "MoE")], linears)


def order_experts(graph: ir.Graph) -> None:
    """Let the weights of experts lie as [experts, outputs, inputs], each gate before what it is multiplied with."""
    for node in nodes_of(graph, "MoE"):
        turned = bool(node.attributes.pop(TRANSPOSED).as_int())
        paired = node.attributes.get_int("swiglu_fusion", 0) == INTERLEAVED
        node.attributes["swiglu_fusion"] = ir.AttrInt64("swiglu_fusion", INTERLEAVED)
        if turned or not paired:
            _reorder(graph, node, FIRST, partial(_ordered, turned=turned, paired=paired))
        if turned:
            _reorder(graph, node, SECOND, partial(_ordered, turned=True, paired=True))
        if optional(node, FIRST_BIAS) is not None and not paired:
            _reorder(graph, node, FIRST_BIAS, _ordered_bias)


def _ordered(weight: FloatArray, *, turned: bool, paired: bool) -> FloatArray:
    """[E, 2 * inner, width] with gates on even rows."""
    if turned:
        weight = weight.swapaxes(1, 2)
    if paired:
        return weight
    experts, rows, width = weight.shape
    return weight.reshape(experts, 2, rows // 2, width).swapaxes(1, 2).reshape(weight.shape)


def _ordered_bias(bias: FloatArray) -> FloatArray:
    return _ordered(bias[..., None], turned=False, paired=False)[..., 0]


def _reorder(graph: ir.Graph, node: ir.Node, index: int, change: Callable[[FloatArray], FloatArray]) -> None:
    """Put a weight in another order in the place of one."""
    old = required(node.inputs[index])
    tensor, name = tensor_of(old), f"{name_of(old)}_{node.name}_ordered"
    shape = change(np.broadcast_to(np.float32(0), shape_of(old))).shape
    lazy = add_lazy(graph, name, lambda: np.ascontiguousarray(change(tensor.numpy())), shape)
    node.replace_input_with(index, lazy)


def pair_rows(graph: ir.Graph, node: ir.Node) -> None:
    """Compute each row of a mixture twice, and keep one."""
    name, result = node.name, node.outputs[0]
    twice = [
        ir.node("Concat", [node.inputs[index]] * 2, {"axis": 0}, name=f"{name}_twice_{index}")
        for index in (ROWS, CHOICE)
    ]
    graph.insert_before(node, twice)
    for index, pair in zip((ROWS, CHOICE), twice, strict=True):
        node.replace_input_with(index, pair.outputs[0])
    split = ir.node("Split", [result], {"axis": 0}, num_outputs=2, name=f"{name}_once")
    graph.insert_after(node, split)
    kept = split.outputs[0]
    users = [use for use in result.uses() if use.node is not split]
    describe(kept, result)
    result.name, result.shape = f"{kept.name}_twice", None
    for user, index in users:
        user.replace_input_with(index, kept)
