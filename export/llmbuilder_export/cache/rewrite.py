"""Attention over a cache in int8, in two ways of which each run takes one.

A step of one token is ONNX Runtime's attention over codes, which reads a quarter of the memory. Over more tokens that
kernel is half as fast as the one for float32, so a chunk takes that one (`llmbuilder_export.cache.chunk`).
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from llmbuilder.bundle.manifest import INPUT_IDS
from llmbuilder_export.cache.chunk import Chunks
from llmbuilder_export.graph import MICROSOFT, add_initializer, name_of, nodes_of, required

PAST_KEY, PAST_VALUE = 3, 4
_SCALES_INPUT = 12
_QUANTIZED: Mapping[str, str | int] = {
    "k_quant_type": "PER_TENSOR",
    "v_quant_type": "PER_TENSOR",
    "kv_cache_bit_width": 8,
}
_CODES = ir.TensorType(ir.DataType.INT8)


def rewrite(graph: ir.Graph, scales: Mapping[str, np.float32]) -> None:
    """Give every layer's attention a cache in int8.

    Args:
        graph: a graph whose attention is one node a layer, over a cache in float32.
        scales: of each tensor of the cache, by its input's name.
    """
    attentions = nodes_of(graph, "GroupQueryAttention")
    is_chunk = _is_chunk(graph)
    chunks = Chunks(graph)
    for attention in attentions:
        pasts = [required(attention.inputs[index]) for index in (PAST_KEY, PAST_VALUE)]
        steps = [
            add_initializer(graph, f"{name_of(past)}_scale", scales[name_of(past)].reshape(1))
            for past in pasts
        ]
        branches = {"then_branch": chunks.branch(attention, steps), "else_branch": _step(attention, steps)}
        choice = ir.node("If", [is_chunk], branches, num_outputs=3)
        for past in pasts:
            past.type = _CODES
        _put_in_place(graph, attention, choice)


def _is_chunk(graph: ir.Graph) -> ir.Value:
    """Whether a run has more than one token for each row."""
    ids = next(value for value in graph.inputs if value.name == INPUT_IDS)
    one = add_initializer(graph, "one_token", np.array([1], np.int64))
    count = ir.node("Shape", [ids], {"start": 1, "end": 2}, name="token_count")
    compared = ir.node("Greater", [count.outputs[0], one], name="is_chunk")
    for node in (count, compared):
        node.outputs[0].name = f"{node.name}_out"
    graph.insert_before(graph[0], [count, compared])
    return compared.outputs[0]


def _step(attention: ir.Node, scales: list[ir.Value]) -> ir.Graph:
    """Attention of one token over codes."""
    inputs = [*attention.inputs, *[None] * (_SCALES_INPUT - len(attention.inputs)), *scales]
    attributes = [*attention.attributes.values(), *ir.convenience.convert_attributes(_QUANTIZED)]
    name = f"{name_of(attention.outputs[0])}_step"
    node = ir.Node(MICROSOFT, "GroupQueryAttention", inputs, attributes, num_outputs=3, name=name)
    for index, value in enumerate(node.outputs):
        value.name = f"{name}_{index}"
    return ir.Graph([], node.outputs, nodes=[node], name=f"{name}_graph")


def _put_in_place(graph: ir.Graph, attention: ir.Node, choice: ir.Node) -> None:
    """Let a node make what attention has made, with the cache in codes."""
    for index, (before, after) in enumerate(zip(attention.outputs, choice.outputs, strict=True)):
        after.name, after.shape, after.type = before.name, before.shape, _CODES if index else before.type
    graph.insert_before(attention, choice)
    for before, after in zip(attention.outputs, choice.outputs, strict=True):
        before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove(attention, safe=True)
