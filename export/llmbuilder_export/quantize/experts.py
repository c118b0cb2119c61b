"""Quantize the experts of a mixture: MoE becomes QMoE, with the blocks that MatMulNBits has."""

from collections.abc import Callable, Mapping
from dataclasses import replace as replace_fields
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder_export.experts import FIRST, FIRST_BIAS, ROWS, SECOND, SECOND_BIAS, pair_rows
from llmbuilder_export.graph import (
    MICROSOFT,
    add_initializer,
    name_of,
    nodes_of,
    optional,
    release,
    replace,
    required,
    shape_of,
    tensor_of,
)
from llmbuilder_export.quantize.blocks import BLOCK, Bits, Blocks, search
from llmbuilder_export.tracking import tracked

_COMPUTE_IN_INT8 = 4
"""``accuracy_level``, as of MatMulNBits; ONNX Runtime has it from 1.31 on."""


class _Stored(NamedTuple):
    """Initializers of quantized weights [experts, outputs, inputs]."""

    codes: ir.Value
    scales: ir.Value
    zero_points: ir.Value


def keep_experts(graph: ir.Graph) -> None:
    """Compute experts in float32."""
    for node in nodes_of(graph, "MoE"):
        pair_rows(graph, node)


def quantize_experts(
    graph: ir.Graph, bits: Bits, importance: Mapping[str, FloatArray], progress: Callable[[str], None]
) -> None:
    """Store all experts in codes; those of a model whose width is no multiple of 32 stay in float32.

    Args:
        graph: traced and fused.
        bits: size of a code.
        importance: mean squares of the features of values, by name, as far as they are known.
        progress: called with a line if experts stay as they are.
    """
    nodes = nodes_of(graph, "MoE")
    if nodes and shape_of(_weight(nodes[0], FIRST))[2] % BLOCK:
        size = sum(tensor_of(_weight(node, index)).nbytes for node in nodes for index in (FIRST, SECOND))
        progress(f"experts: {size / 1e6:.1f} MB stay in float32, as their width is no multiple of {BLOCK}")
        keep_experts(graph)
        return
    for node in tracked(nodes, "layers of experts"):
        _quantize(graph, node, bits, importance.get(name_of(required(node.inputs[ROWS]))))


def _quantize(graph: ir.Graph, node: ir.Node, bits: Bits, importance: FloatArray | None) -> None:
    """Put QMoE in the place of a node; a width between its two products is filled up to whole blocks."""
    weights = [_weight(node, index) for index in (FIRST, SECOND)]
    missing = -shape_of(weights[1])[2] % BLOCK
    first = _store(graph, node, weights[0], 2 * missing, bits, importance)
    second = _store(graph, node, weights[1], 0, bits, None)
    bias = optional(node, FIRST_BIAS)
    if bias is not None and missing:
        padded = np.pad(tensor_of(bias).numpy(), ((0, 0), (0, 2 * missing)))
        bias = add_initializer(graph, f"{name_of(bias)}_{node.name}_padded", padded)
    inputs = [*node.inputs[:2], *first[:2], bias, *second[:2], optional(node, SECOND_BIAS)]
    inputs += [None, None, None, first.zero_points, second.zero_points]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    attributes |= {"expert_weight_bits": bits, "block_size": BLOCK, "accuracy_level": _COMPUTE_IN_INT8}
    new = ir.node("QMoE", inputs, attributes, domain=MICROSOFT, name=node.name)
    replace(graph, [node], [new])
    for weight in weights:
        release(graph, weight)
    if bits != 8:
        pair_rows(graph, new)


def _store(
    graph: ir.Graph, node: ir.Node, weight: ir.Value, rows: int, bits: Bits, importance: FloatArray | None
) -> _Stored:
    """Quantize one expert after the other, with so many rows of zeros behind each."""
    matrices = tensor_of(weight).numpy()
    found = [_blocks(np.pad(matrix, ((0, rows), (0, 0))), bits, importance) for matrix in matrices]
    name = f"{name_of(weight)}_{node.name}"
    return _Stored(
        *(
            add_initializer(graph, f"{name}_{part}", np.stack([getattr(each, part) for each in found]))
            for part in _Stored._fields
        )
    )


def _blocks(matrix: FloatArray, bits: Bits, importance: FloatArray | None) -> Blocks:
    """Blocks of [outputs, inputs], their codes as one row for each output."""
    blocks = search(matrix, bits, importance)
    return replace_fields(blocks, codes=blocks.codes.reshape(len(matrix), -1))


def _weight(node: ir.Node, index: int) -> ir.Value:
    return required(node.inputs[index])
