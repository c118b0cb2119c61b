"""Query heads in groups of the sizes that ONNX Runtime's fastest attention for cards knows.

XQA (https://github.com/NVIDIA/TensorRT-LLM, cpp/kernels/xqa) computes a step's attention in one kernel where flash
attention takes several, and its results are the same from run to run. ONNX Runtime has it for a few numbers of query
heads to a key head. Others get heads of zeros, which the layer behind multiplies by zeros.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder_export.graph import (
    add_lazy,
    name_of,
    nodes_of,
    optional,
    release,
    required,
    shape_of,
    tensor_of,
)
from llmbuilder_export.networks.attention import SINKS_INPUT
from llmbuilder_export.quantize.layers import Linear, find_linears

GROUPS = (1, 2, 4, 5, 8, 16, 32)
HEAD_SIZES = (64, 128, 256)
"""Of ONNX Runtime 1.31.1, for which `onnxruntime/contrib_ops/cuda/bert/xqa` was seen to be used on an H200."""
_MOST = 1.5
"""Times as many query heads as a model has are made at most."""


@dataclass(frozen=True)
class _Groups:
    """Query heads of one size in ``count`` groups, which grow from ``size`` to ``wanted`` heads."""

    count: int
    size: int
    wanted: int
    head_size: int

    def filled(self, weight: FloatArray, axis: int) -> FloatArray:
        """Zeros behind each group of a weight whose ``axis`` begins with all query heads."""
        before, after = weight.shape[:axis], weight.shape[axis + 1 :]
        queries, others = np.split(weight, [self.count * self.size * self.head_size], axis)
        apart = queries.reshape(*before, self.count, self.size, self.head_size, *after)
        zeros = [(0, 0)] * apart.ndim
        zeros[axis + 1] = (0, self.wanted - self.size)
        return np.concatenate([np.pad(apart, zeros).reshape(*before, -1, *after), others], axis)

    @property
    def grown(self) -> int:
        """Numbers by which the axis grows."""
        return self.count * (self.wanted - self.size) * self.head_size


def fill_groups(graph: ir.Graph) -> None:
    """Add query heads of zeros where attention is then computed by XQA; the graph computes what it did."""
    linears = find_linears(graph)
    makers = {linear.result: linear for linear in linears}
    readers = {linear.source: linear for linear in linears}
    for attention in nodes_of(graph, "GroupQueryAttention"):
        made, read = makers.get(required(attention.inputs[0])), readers.get(attention.outputs[0])
        if made is None or read is None or len(attention.outputs[0].uses()) > 1:
            continue
        if (groups := _groups(attention, read)) is not None:
            _widen(graph, groups, made, read)
            attention.attributes["num_heads"] = ir.AttrInt64("num_heads", groups.count * groups.wanted)


def _groups(attention: ir.Node, read: Linear) -> _Groups | None:
    """Those of an attention that XQA could compute if they were larger."""
    heads, count = (attention.attributes.get_int(name, 1) for name in ("num_heads", "kv_num_heads"))
    size, head_size = heads // count, read.shape[1] // heads
    wanted = next((group for group in GROUPS if group >= size), size)
    grows = size < wanted <= _MOST * size and head_size in HEAD_SIZES
    return _Groups(count, size, wanted, head_size) if grows and _is_plain(attention) else None


def _is_plain(attention: ir.Node) -> bool:
    """Whether scores are not capped, and heads have no sinks, which would have to be filled as well."""
    capped = attention.attributes.get_float("softcap", 0.0) != 0
    return not capped and optional(attention, SINKS_INPUT) is None


def _widen(graph: ir.Graph, groups: _Groups, made: Linear, read: Linear) -> None:
    """Widen the layer that makes the queries, and the one that reads what attention makes of them."""
    _fill(graph, groups, made.nodes[0], made.weight, 0 if made.rows_are_outputs else 1)
    if made.bias is not None:
        _fill(graph, groups, made.nodes[-1], made.bias, 0)
    _fill(graph, groups, read.nodes[0], read.weight, 1 if read.rows_are_outputs else 0)


def _fill(graph: ir.Graph, groups: _Groups, node: ir.Node, weight: ir.Value, axis: int) -> None:
    """Let ``node`` read a wider weight; other layers may share the one that it has read."""
    narrow, shape = tensor_of(weight), list(shape_of(weight))
    shape[axis] += groups.grown
    name = f"{node.name}_{name_of(weight)}_filled"
    wide = add_lazy(graph, name, lambda: groups.filled(narrow.numpy(), axis), shape)
    for index, value in enumerate(node.inputs):
        if value is weight:
            node.replace_input_with(index, wide)
    release(graph, weight)
