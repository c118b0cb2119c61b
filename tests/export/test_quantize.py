"""A quantized graph: what is replaced by what, what is shared, and that it still computes the same to a few digits."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from small_models import LAYERS, VOCABULARY, WIDTH, WINDOW, gpt_state, model_config

from llmbuilder.errors import ExportError
from llmbuilder_export import export_model, pipeline
from llmbuilder_export.fuse import fuse
from llmbuilder_export.graph import replace
from llmbuilder_export.quantize.calibrate import ROWS, mean_squares
from llmbuilder_export.quantize.layers import find_embedding, find_linears
from llmbuilder_export.quantize.weights import quantize
from llmbuilder_export.sources import load_source

BATCH, LENGTH = 2, 5


def silent(_):
    pass


@pytest.fixture(scope="module")
def traced(checkpoint):
    model = pipeline.trace(load_source(checkpoint).network)
    fuse(model)
    return model


@pytest.fixture
def quantized(traced):
    return lambda mode: quantize(traced.clone(), mode, silent, WINDOW)


def nodes(model, op_type):
    return [node for node in model.graph if node.op_type == op_type]


def bits(node):
    return node.attributes.get_int("bits")


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_every_linear_layer_is_quantized_in_blocks_that_batches_do_not_change(quantized, mode):
    model = quantized(mode)
    assert not nodes(model, "MatMul") + nodes(model, "FusedMatMul") + nodes(model, "Gemm")
    for node in nodes(model, "MatMulNBits"):
        assert node.attributes.get_int("block_size") == 32
        assert node.attributes.get_int("accuracy_level") == 4
        zero_points = node.inputs[3]
        assert zero_points is None or zero_points.dtype == ir.DataType.UINT8


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_embedding_and_the_head_read_one_table(quantized, mode):
    model = quantized(mode)
    (lookup,) = nodes(model, "GatherBlockQuantized")
    head = nodes(model, "MatMulNBits")[-1]
    assert head.inputs[1] is lookup.inputs[0]
    assert head.inputs[1].shape == (VOCABULARY, 1, 32)
    large = [v for v in model.graph.initializers.values() if v.const_value.nbytes >= VOCABULARY * WIDTH]
    assert large == [head.inputs[1]]


def test_int8_has_8_bits_everywhere(quantized):
    assert {bits(node) for node in nodes(quantized("int8"), "MatMulNBits")} == {8}


def test_int4_keeps_8_bits_for_the_head_and_for_what_feeds_attention(quantized):
    model = quantized("int4")
    kinds = {node.name: bits(node) for node in nodes(model, "MatMulNBits")}
    projections = {node.inputs[0].producer().name for node in nodes(model, "GroupQueryAttention")}
    head = nodes(model, "MatMulNBits")[-1].name
    assert {name for name, size in kinds.items() if size == 8} == projections | {head}
    assert len(kinds) > len(projections) + 1


def test_a_bias_is_added_by_the_multiplication_unless_a_normalization_adds_it(traced, quantized):
    model = quantized("int8")
    with_bias = [node for node in nodes(model, "MatMulNBits") if len(node.inputs) > 5]
    assert len(with_bias) == LAYERS
    assert len(nodes(model, "Add")) == len(nodes(traced, "Add")) - LAYERS


def test_learned_positions_stay_as_they_are(quantized):
    (positions,) = nodes(quantized("int4"), "Gather")
    assert positions.inputs[0].const_value.dtype == ir.DataType.FLOAT


def test_float_weights_are_let_go_of(traced, quantized):
    def megabytes(model):
        return sum(value.const_value.nbytes for value in model.graph.initializers.values()) / 1e6

    none, int8, int4 = megabytes(traced), megabytes(quantized("int8")), megabytes(quantized("int4"))
    assert int8 < 0.4 * none
    assert int4 < 0.85 * int8


def test_none_changes_nothing(traced):
    before = [node.op_type for node in traced.graph]
    assert quantize(traced, "none", silent, WINDOW) is traced
    assert [node.op_type for node in traced.graph] == before


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantizing_twice_gives_the_same_bytes(quantized, mode):
    first, second = (ir.to_proto(quantized(mode)).SerializeToString() for _ in range(2))
    assert first == second


def test_a_width_that_is_no_multiple_of_the_block_is_padded(tmp_path, sentencepiece_file):
    checkpoint = tmp_path / "model.pt"
    state, config = gpt_state(width=40, layers=1), model_config(embedding_dim=40, num_layers=1)
    torch.save({"model_state_dict": state, "model_config": config, "model_type": "gpt"}, checkpoint)
    report = export_model(
        checkpoint, sentencepiece_file, tmp_path / "bundle", quantization="int8", progress=silent
    )
    assert report.manifest.verification["mean_kl_divergence"] < 0.05


def test_the_measured_divergence_grows_with_the_rounding(report, checkpoint, tmp_path):
    rounded = [
        export_model(checkpoint, output=tmp_path / mode, quantization=mode, progress=silent)
        for mode in ("int8", "int4")
    ]
    none, int8, int4 = (each.manifest.verification["mean_kl_divergence"] for each in (report, *rounded))
    assert none < 1e-6 < int8 < 0.05
    assert int8 < int4 < 1


def small_graph(build, *initializers):
    """A model y = build(x) for x [batch, sequence, 64] with random initializers of the given shapes."""
    random = np.random.default_rng(0)
    x = ir.val("x", ir.DataType.FLOAT, ["batch", "sequence", 64])
    values = []
    for index, shape in enumerate(initializers):
        tensor = ir.tensor(random.standard_normal(shape).astype(np.float32), name=f"w{index}")
        values.append(ir.val(f"w{index}", ir.DataType.FLOAT, shape, const_value=tensor))
    made = build(x, *values)
    made[-1].outputs[0].name, made[-1].outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    imports = {"": 20, "com.microsoft": 1}
    graph = ir.Graph([x], made[-1].outputs, nodes=made, initializers=values, opset_imports=imports)
    return ir.Model(graph, ir_version=10)


def run(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    content = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def gemm(x, *rest, **attributes):
    rows = ir.node("Flatten", [x], {"axis": -1})
    return [rows, ir.node("Gemm", [rows.outputs[0], *rest], attributes)]


def matmul_and_bias(x, weight, bias):
    product = ir.node("MatMul", [x, weight])
    return [product, ir.node("Add", [bias, product.outputs[0]])]


FORMS = {
    "MatMul": (lambda x, w: [ir.node("MatMul", [x, w])], (64, 48)),
    "MatMul and Add": (matmul_and_bias, (64, 48), (48,)),
    "FusedMatMul": (
        lambda x, w: [ir.node("FusedMatMul", [x, w], {"transB": 1}, domain="com.microsoft")],
        (48, 64),
    ),
    "Gemm": (gemm, (64, 48), (48,)),
    "Gemm of a transposed weight": (lambda x, w: gemm(x, w, transB=1), (48, 64)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_linear_layer_is_recognized(form):
    model = small_graph(*FORMS[form])
    x = np.random.default_rng(1).standard_normal((BATCH, LENGTH, 64)).astype(np.float32)
    expected = run(model, x)
    quantize(model, "int8", silent, WINDOW)
    assert [node.op_type for node in model.graph if node.op_type != "Flatten"] == ["MatMulNBits"]
    np.testing.assert_allclose(run(model, x), expected, atol=0.02 * np.abs(expected).max())


def test_an_embedding_is_found_behind_a_reshape_of_the_ids():
    ids = ir.val("input_ids", ir.DataType.INT64, ["batch", "sequence"])
    table = ir.val("table", ir.DataType.FLOAT, (7, 32), const_value=ir.tensor(np.ones((7, 32), np.float32)))
    shape = ir.val("shape", ir.DataType.INT64, (2,), const_value=ir.tensor(np.array([0, 0])))
    view = ir.node("Reshape", [ids, shape])
    lookup = ir.node("Gather", [table, view.outputs[0]])
    graph = ir.Graph([ids], lookup.outputs, nodes=[view, lookup], initializers=[table, shape])
    assert find_embedding(graph) is lookup


SCALED = {
    "scaled": lambda x, w: [ir.node("FusedMatMul", [x, w], {"alpha": 0.5}, domain="com.microsoft")],
    "of a transposed left side": lambda x, w: gemm(x, w, transA=1),
    "of two inputs": lambda x, _: [ir.node("MatMul", [x, x])],
}


@pytest.mark.parametrize("form", SCALED)
def test_a_product_that_is_no_linear_layer_is_left_alone(form):
    model = small_graph(SCALED[form], (64, 48))
    with pytest.raises(ExportError, match="no weights that can be quantized"):
        quantize(model, "int8", silent, WINDOW)


def test_a_weight_of_two_layers_is_stored_once():
    def build(x, weight):
        first = ir.node("MatMul", [x, weight])
        return [first, ir.node("MatMul", [first.outputs[0], weight])]

    model = small_graph(build, (64, 64))
    quantize(model, "int8", silent, WINDOW)
    first, second = nodes(model, "MatMulNBits")
    assert first.inputs[1] is second.inputs[1]


def test_a_layer_reads_what_took_the_place_of_its_input():
    def build(x, weight):
        first = ir.node("Neg", [x])
        return [first, ir.node("MatMul", [first.outputs[0], weight])]

    model = small_graph(build, (64, 48))
    (linear,) = find_linears(model.graph)
    before = linear.source.producer()
    replace(model.graph, [before], [ir.node("Abs", [before.inputs[0]])])
    assert linear.source.producer().op_type == "Abs"


def test_calibration_measures_each_feature_over_all_rows_and_steps(traced):
    model = traced.clone()
    head = nodes(model, "FusedMatMul")[-1].inputs[0]
    (first,) = mean_squares(model, [head.name], 1).values()
    (longer,) = mean_squares(model, [head.name], 4).values()
    assert first.shape == longer.shape == (WIDTH,)
    assert ROWS > 1
    assert (longer > 0).all()
    assert not np.array_equal(first, longer)


def test_calibration_leaves_the_graph_as_it_was(traced):
    before = {name: value.const_value for name, value in traced.graph.initializers.items()}
    outputs = [value.name for value in traced.graph.outputs]
    mean_squares(traced, [nodes(traced, "MatMul")[0].inputs[0].name], 2)
    assert all(before[name] is value.const_value for name, value in traced.graph.initializers.items())
    assert [value.name for value in traced.graph.outputs] == outputs
