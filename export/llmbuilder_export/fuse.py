"""Rewrite a traced graph into the operators ONNX Runtime computes fastest, without changing what it computes.

Each rewrite leaves alone whatever does not match exactly. Weights made here are lazy tensors: they exist only while
they are read, so that no second copy of the model is ever in memory.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    RemoveUnusedNodesPass,
)
from onnxscript.rewriter.ort_fusions.rms_normalization import fuse_rms_normalization
from onnxscript.rewriter.ort_fusions.skip_normalization import (
    fuse_skip_layer_normalization,
    fuse_skip_rms_normalization,
)

from llmbuilder.bundle.manifest import POSITION_IDS
from llmbuilder_export.experts import order_experts, routers
from llmbuilder_export.graph import (
    MICROSOFT,
    add_initializer,
    add_lazy,
    addition_of,
    describe,
    is_weight,
    nodes_of,
    producer,
    replace,
    required,
    shape_of,
    tensor_of,
)
from llmbuilder_export.networks.attention import fits_attention
from llmbuilder_export.quantize.layers import find_linears
from llmbuilder_export.reductions import fix_order

_SWAP_MIDDLE = (0, 2, 1, 3)
_COS_INPUT = 7


def fuse(model: ir.Model) -> None:
    """Apply all rewrites in place."""
    graph = model.graph
    model.opset_imports[MICROSOFT] = 1
    fuse_rms_normalization(model)
    fix_order(graph)
    order_experts(graph)
    fill_by_expand(graph)
    fuse_tied_head(graph)
    merge_parallel_linears(graph)
    rotate_in_attention(graph)
    drop_round_trips(graph)
    pack_attention(graph)
    fuse_silu(graph)
    fuse_skip_layer_normalization(model)
    fuse_skip_rms_normalization(model)
    CommonSubexpressionEliminationPass()(model)
    RemoveUnusedNodesPass()(model)
    ClearMetadataAndDocStringPass()(model)
    drop_unused_outputs(graph)
    _forget_shapes(graph)


def fill_by_expand(graph: ir.Graph) -> None:
    """Fill a shape with another number than 0.0 by Expand: no operator of a bundle holds a tensor as attribute."""
    for node in nodes_of(graph, "ConstantOfShape"):
        if "value" in node.attributes:
            number = add_initializer(graph, f"{node.name}_value", node.attributes["value"].as_tensor())
            replace(graph, [node], [ir.node("Expand", [number, node.inputs[0]], name=node.name)])


def fuse_tied_head(graph: ir.Graph) -> None:
    """Multiply by a transposed weight as it lies, where ONNX Runtime would make a transposed copy of it."""
    for node in nodes_of(graph, "MatMul"):
        transpose = producer(node.inputs[1], "Transpose")
        if transpose is not None and is_weight(transpose.inputs[0]):
            _replace(graph, node, "FusedMatMul", [node.inputs[0], transpose.inputs[0]], {"transB": 1})


def merge_parallel_linears(graph: ir.Graph) -> None:
    """Compute all linear layers of one input in one MatMul, split afterwards (query, key, value; gate and up).

    What chooses experts stays by itself, in float32.
    """
    apart = {linear.nodes[0] for linear in routers(graph, find_linears(graph))}
    groups: dict[tuple[ir.Value | None, int], list[list[ir.Node]]] = defaultdict(list)
    for node in nodes_of(graph, "MatMul"):
        if node not in apart and is_weight(node.inputs[1], rank=2):
            addition = addition_of(node, shape_of(required(node.inputs[1]))[1])
            linear = [node] if addition is None else [node, addition[0]]
            groups[node.inputs[0], len(linear)].append(linear)
    for linears in groups.values():
        if len(linears) > 1:
            _merge(graph, linears)


def rotate_in_attention(graph: ir.Graph) -> None:
    """Let attention rotate queries and keys itself; it counts positions from the length of its cache."""
    for node in nodes_of(graph, "GroupQueryAttention"):
        query, key = (_rotation(value) for value in node.inputs[:2])
        if query is None or key is None or query.inputs[1:] != key.inputs[1:]:
            continue
        _, positions, cos, sin = query.inputs
        if positions is None or positions.name != POSITION_IDS or not fits_attention(shape_of(required(cos))):
            continue
        for rotation in (query, key):
            rotation.outputs[0].replace_all_uses_with(required(rotation.inputs[0]))
        node.resize_inputs(max(len(node.inputs), _COS_INPUT + 2))
        node.replace_input_with(_COS_INPUT, cos)
        node.replace_input_with(_COS_INPUT + 1, sin)
        node.attributes["do_rotary"] = ir.AttrInt64("do_rotary", 1)
        if query.attributes.get_int("interleaved", 0):
            node.attributes["rotary_interleaved"] = ir.AttrInt64("rotary_interleaved", 1)


def drop_round_trips(graph: ir.Graph) -> None:
    """Remove chains of Reshape and Transpose that end in the layout they began with."""
    for node in graph:
        if node.op_type in ("Reshape", "Transpose"):
            output = node.outputs[0]
            output.replace_all_uses_with(_before_layout(output))


def pack_attention(graph: ir.Graph) -> None:
    """Hand attention the tensor that its query, key and value are split from."""
    for node in nodes_of(graph, "GroupQueryAttention"):
        split = producer(node.inputs[0], "Split")
        if split is not None and list(split.outputs) == list(node.inputs[:3]):
            for index, value in enumerate((split.inputs[0], None, None)):
                node.replace_input_with(index, value)


def fuse_silu(graph: ir.Graph) -> None:
    """Compute x * sigmoid(x) as QuickGelu with alpha 1."""
    for node in nodes_of(graph, "Mul"):
        for x, gate in (node.inputs, reversed(node.inputs)):
            sigmoid = producer(gate, "Sigmoid")
            if sigmoid is not None and sigmoid.inputs[0] is x:
                _replace(graph, node, "QuickGelu", [x], {"alpha": 1.0})
                break


def drop_unused_outputs(graph: ir.Graph) -> None:
    """Leave out what nobody reads: ONNX Runtime allocates even the statistics of norms, if they have names.

    TopK must have both of its outputs.
    """
    for node in [each for each in graph if each.op_type != "TopK"]:
        for value in node.outputs:
            if not value.uses() and not value.is_graph_output():
                value.name = ""


def _forget_shapes(graph: ir.Graph) -> None:
    """Drop the tracer's shapes of intermediate values: ONNX Runtime infers its own."""
    for node in graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = value.type = None


def _replace(
    graph: ir.Graph,
    old: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, int | float],
) -> None:
    """Put one operator of ONNX Runtime's own in the place of ``old``."""
    replace(graph, [old], [ir.node(op_type, inputs, attributes, domain=MICROSOFT, name=old.name)])


def _merge(graph: ir.Graph, linears: Sequence[Sequence[ir.Node]]) -> None:
    """Replace linear layers [MatMul] or [MatMul, Add] of the same input."""
    first = linears[0][0]
    weights = [required(matmul.inputs[1]) for matmul, *_ in linears]
    weight = _joined(graph, f"{first.name}_weights", weights)
    new = [ir.node("MatMul", [first.inputs[0], weight], name=f"{first.name}_merged")]
    if len(linears[0]) > 1:
        biases = [next(required(value) for value in add.inputs if is_weight(value)) for _, add in linears]
        bias = _joined(graph, f"{first.name}_biases", biases)
        new.append(ir.node("Add", [new[0].outputs[0], bias], name=f"{first.name}_bias"))
    widths = [shape_of(weight)[1] for weight in weights]
    for node in new:
        describe(node.outputs[0], first.outputs[0])
        node.outputs[0].name = f"{node.name}_out"
        if node.outputs[0].shape is not None:
            node.outputs[0].shape = ir.Shape([*node.outputs[0].shape[:-1], sum(widths)])
    sizes = add_initializer(graph, f"{first.name}_widths", np.array(widths, np.int64))
    inputs = [new[-1].outputs[0], sizes]
    split = ir.node("Split", inputs, {"axis": -1}, num_outputs=len(linears), name=f"{first.name}_split")
    graph.insert_before(first, [*new, split])
    for part, linear in zip(split.outputs, linears, strict=True):
        describe(part, linear[-1].outputs[0])
        linear[-1].outputs[0].replace_all_uses_with(part)
        for node in reversed(linear):
            graph.remove(node, safe=True)


def _joined(graph: ir.Graph, name: str, values: Sequence[ir.Value]) -> ir.Value:
    """One weight made of several, side by side in their last dimension.

    Layers can share a weight (the tracer merges equal ones), so its name must come from the node.
    """
    parts = [tensor_of(value) for value in values]
    shapes = [shape_of(value) for value in values]
    shape = [*shapes[0][:-1], sum(shape[-1] for shape in shapes)]
    return add_lazy(graph, name, lambda: np.concatenate([part.numpy() for part in parts], axis=-1), shape)


def _layout_steps(value: ir.Value) -> Iterator[ir.Node]:
    """Walk back over the nodes that only change how ``value`` is laid out."""
    node = value.producer()
    while node is not None and node.op_type in ("Reshape", "Transpose"):
        yield node
        node = node.inputs[0].producer() if node.inputs[0] is not None else None


def _rotation(value: ir.Value | None) -> ir.Node | None:
    """The RotaryEmbedding whose result ``value`` is, in whatever layout."""
    for node in _layout_steps(value) if value is not None else ():
        if rotation := producer(node.inputs[0], "RotaryEmbedding"):
            return rotation
    return None


def _before_layout(value: ir.Value) -> ir.Value:
    """The earliest value that ``value`` equals: same shape, every transposition undone."""
    origin, swapped = value, False
    for node in _layout_steps(value):
        source = required(node.inputs[0])
        if node.op_type == "Transpose":
            if tuple(node.attributes.get_ints("perm", ())) != _SWAP_MIDDLE:
                break
            swapped = not swapped
        elif swapped or not _same_rows(source, value):
            break
        if not swapped and source.shape is not None and source.shape == value.shape:
            origin = source
    return origin


def _same_rows(a: ir.Value, b: ir.Value) -> bool:
    """Whether two values share batch and sequence, so that a Reshape between them only regroups what follows."""
    return a.shape is not None and b.shape is not None and a.shape[:2] == b.shape[:2]
