"""The exported graph: few operators, every one of them ONNX Runtime's fastest for its work."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small_models import LAYERS, VOCABULARY, WIDTH

from llmbuilder_export.fuse import (
    drop_round_trips,
    drop_unused_outputs,
    fill_by_expand,
    fuse_silu,
    fuse_tied_head,
    merge_parallel_linears,
)


@pytest.fixture(scope="module")
def graph(report):
    return onnx.load(report.path / "model.onnx", load_external_data=False)


def test_seven_operators_for_each_layer(graph):
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["GroupQueryAttention"] == LAYERS
    assert operators["MatMul"] == 4 * LAYERS
    assert operators["SkipLayerNormalization"] == 2 * LAYERS + 1
    assert operators["Gelu"] == LAYERS
    assert len(graph.graph.node) <= 8 * LAYERS + 12


def test_only_operators_a_runtime_accepts(graph):
    assert {node.domain for node in graph.graph.node} <= {"", "com.microsoft"}
    assert not graph.functions
    assert not [a for node in graph.graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]


def test_inputs_and_outputs_have_the_ecosystems_names(graph):
    caches = [f"past_key_values.{layer}.{kind}" for layer in range(LAYERS) for kind in ("key", "value")]
    names = [value.name for value in graph.graph.input]
    assert names == ["input_ids", "attention_mask", "position_ids", *caches, "logits_start"]
    outputs = [value.name for value in graph.graph.output]
    assert outputs == ["logits", *(name.replace("past_key_values", "present") for name in caches)]


def test_programs_that_do_not_ask_get_the_last_logits(graph):
    default = next(tensor for tensor in graph.graph.initializer if tensor.name == "logits_start")
    assert onnx.numpy_helper.to_array(default).tolist() == [-1]


def test_nothing_is_computed_with_the_start_of_the_logits(graph):
    """On a device, arithmetic on it would be done by the processor."""
    (reader,) = (node for node in graph.graph.node if "logits_start" in node.input)
    assert reader.op_type == "Slice"
    assert reader.input[1] == "logits_start"


def test_the_output_layer_reads_the_embedding_as_it_lies(graph):
    head = next(node for node in graph.graph.node if "logits" in node.output)
    embedding = next(node for node in graph.graph.node if "input_ids" in node.input)
    assert head.op_type == "FusedMatMul"
    assert head.input[1] == embedding.input[0]
    weight = next(tensor for tensor in graph.graph.initializer if tensor.name == head.input[1])
    assert list(weight.dims) == [VOCABULARY, WIDTH]


def test_outputs_that_nobody_reads_have_no_names(graph):
    """ONNX Runtime would allocate the statistics of each norm."""
    read = {name for node in graph.graph.node for name in node.input}
    read |= {value.name for value in graph.graph.output}
    assert {name for node in graph.graph.node for name in node.output if name} <= read


def value(name, *shape):
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))


def weight(name, array):
    tensor = ir.tensor(np.asarray(array, np.float32), name=name)
    shape = ir.Shape(array.shape)
    return ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)


def graph_of(nodes, inputs, outputs, weights=()):
    return ir.Graph(inputs, outputs, nodes=nodes, initializers=weights, opset_imports={"": 20})


def operators(graph):
    return [node.op_type for node in graph]


def node(op_type, inputs, shape, **attributes):
    made = ir.node(op_type, inputs, attributes)
    made.outputs[0].shape = ir.Shape(shape)
    made.outputs[0].name = f"{op_type.lower()}_of_{inputs[0].name}"
    return made


def test_linear_layers_of_one_input_are_merged_lazily():
    x = value("x", "b", "s", 4)
    weights = [weight(f"w{i}", np.full((4, width), i)) for i, width in enumerate((3, 2))]
    layers = [node("MatMul", [x, w], ["b", "s", w.shape[1]]) for w in weights]
    for i, layer in enumerate(layers):
        layer.outputs[0].name = f"y{i}"
    total = node("Concat", [layer.outputs[0] for layer in layers], ["b", "s", 5], axis=-1)
    graph = graph_of([*layers, total], [x], [total.outputs[0]], weights)
    merge_parallel_linears(graph)
    assert operators(graph) == ["MatMul", "Split", "Concat"]
    merged = graph[0].inputs[1].const_value
    assert isinstance(merged, ir.LazyTensor)
    np.testing.assert_array_equal(merged.numpy()[0], [0, 0, 0, 1, 1])


def test_linear_layers_of_different_inputs_stay_apart():
    x, y = value("x", "b", 4), value("y", "b", 4)
    w = weight("w", np.ones((4, 2)))
    layers = [node("MatMul", [v, w], ["b", 2]) for v in (x, y)]
    graph = graph_of(layers, [x, y], [layer.outputs[0] for layer in layers], [w])
    merge_parallel_linears(graph)
    assert operators(graph) == ["MatMul", "MatMul"]


def test_transposing_there_and_back_is_dropped():
    x = value("x", "b", "s", 8)
    split = node("Reshape", [x, value("shape", 4)], ["b", "s", 2, 4])
    there = node("Transpose", [split.outputs[0]], ["b", 2, "s", 4], perm=[0, 2, 1, 3])
    back = node("Transpose", [there.outputs[0]], ["b", "s", 2, 4], perm=[0, 2, 1, 3])
    joined = node("Reshape", [back.outputs[0], value("shape", 3)], ["b", "s", 8])
    end = node("Identity", [joined.outputs[0]], ["b", "s", 8])
    graph_of([split, there, back, joined, end], [x], [end.outputs[0]])
    drop_round_trips(end.graph)
    assert end.inputs[0] is x


def test_a_single_transposition_stays():
    x = value("x", "b", "s", "s", 8)
    there = node("Transpose", [x], ["b", "s", "s", 8], perm=[0, 2, 1, 3])
    end = node("Identity", [there.outputs[0]], ["b", "s", "s", 8])
    graph_of([there, end], [x], [end.outputs[0]])
    drop_round_trips(end.graph)
    assert end.inputs[0] is there.outputs[0]


def test_heads_regrouped_while_transposed_stay():
    """[b, 2, s, 4] read as [b, 4, s, 2] is no regrouping of the last dimensions: values have moved."""
    x = value("x", "b", "s", 8)
    split = node("Reshape", [x, value("shape", 4)], ["b", "s", 2, 4])
    there = node("Transpose", [split.outputs[0]], ["b", 2, "s", 4], perm=[0, 2, 1, 3])
    mixed = node("Reshape", [there.outputs[0], value("shape", 4)], ["b", 4, "s", 2])
    back = node("Transpose", [mixed.outputs[0]], ["b", "s", 4, 2], perm=[0, 2, 1, 3])
    joined = node("Reshape", [back.outputs[0], value("shape", 3)], ["b", "s", 8])
    end = node("Identity", [joined.outputs[0]], ["b", "s", 8])
    graph_of([split, there, mixed, back, joined, end], [x], [end.outputs[0]])
    drop_round_trips(end.graph)
    assert end.inputs[0] is joined.outputs[0]


def test_silu_is_one_operator():
    x = value("x", "b", 4)
    gate = node("Sigmoid", [x], ["b", 4])
    product = node("Mul", [gate.outputs[0], x], ["b", 4])
    graph = graph_of([gate, product], [x], [product.outputs[0]])
    fuse_silu(graph)
    assert graph.outputs[0].producer().op_type == "QuickGelu"
    assert graph.outputs[0].producer().attributes["alpha"].value == 1


def test_a_gate_over_something_else_is_no_silu():
    x, y = value("x", "b", 4), value("y", "b", 4)
    gate = node("Sigmoid", [x], ["b", 4])
    product = node("Mul", [gate.outputs[0], y], ["b", 4])
    graph = graph_of([gate, product], [x, y], [product.outputs[0]])
    fuse_silu(graph)
    assert operators(graph) == ["Sigmoid", "Mul"]


def test_only_constant_transposed_weights_are_multiplied_as_they_lie():
    x, y = value("x", "b", 4), value("y", 3, 4)
    turned = node("Transpose", [y], [4, 3], perm=[1, 0])
    product = node("MatMul", [x, turned.outputs[0]], ["b", 3])
    graph = graph_of([turned, product], [x, y], [product.outputs[0]])
    fuse_tied_head(graph)
    assert operators(graph) == ["Transpose", "MatMul"]


def test_shapes_are_filled_with_numbers_by_expand():
    size = ir.Value(name="size", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.INT64))
    ones, zeros = (
        ir.node("ConstantOfShape", [size], options, name=name)
        for name, options in (("ones", {"value": ir.tensor([1.0])}), ("zeros", {}))
    )
    graph = graph_of([ones, zeros], [size], [ones.outputs[0], zeros.outputs[0]])
    fill_by_expand(graph)
    expand, untouched = graph
    assert (expand.op_type, untouched.op_type) == ("Expand", "ConstantOfShape")
    assert expand.inputs[0].const_value.numpy().tolist() == [1]
    assert expand.inputs[1] is size


def test_the_largest_of_a_row_have_their_places_where_nobody_reads_them():
    """TopK must have two outputs."""
    x = value("x", 2, 4)
    count = ir.Value(name="count", const_value=ir.tensor([1]))
    top = ir.node("TopK", [x, count], num_outputs=2)
    for output, name in zip(top.outputs, ("numbers", "places"), strict=True):
        output.name = name
    graph = graph_of([top], [x], [top.outputs[0]], [count])
    drop_unused_outputs(graph)
    assert top.outputs[1].name == "places"
