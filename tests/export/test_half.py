"""Exports for CUDA: float16 throughout, lengths from positions, and numbers that are close to the model's."""

import shutil

import families
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from small_models import LAYERS, gpt_state, model_config

from llmbuilder.bundle.manifest import LOGITS
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.bundle.operators import OPERATORS
from llmbuilder.engine.model import Model
from llmbuilder.errors import ExportError
from llmbuilder_export import export_model
from llmbuilder_export.cuda.kernels import KERNELS, refuse_missing
from llmbuilder_export.cuda.lengths import lengths_from_positions
from llmbuilder_export.cuda.places import refuse_copies

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """Export for CUDA, once for each quantization."""
    reports = {}

    def export(quantization=None):
        if quantization not in reports:
            output = tmp_path_factory.mktemp("bundles") / "cuda"
            reports[quantization] = export_model(
                checkpoint, output=output, device="cuda", quantization=quantization, progress=lambda _: None
            )
        return reports[quantization]

    return export


@pytest.fixture(scope="module")
def graph(exported):
    return graph_of(exported())


@pytest.fixture
def helium(tmp_path, byte_bpe_file):
    """A family whose norms and rotary positions are no operators of their own."""
    families.save_family("helium", tmp_path / "model")
    shutil.copy(byte_bpe_file, tmp_path / "model" / "tokenizer.json")
    return export_model(
        tmp_path / "model", device="cuda", max_context=families.WINDOW, progress=lambda _: None
    )


def graph_of(report):
    return onnx.load(report.path / "model.onnx", load_external_data=False).graph


def readers(graph, name):
    return [node for node in graph.node if name in node.input]


def test_the_manifest_says_what_it_is(exported):
    manifest = open_bundle(exported().path, rehash=True).manifest
    assert (manifest.device, manifest.kv_cache, manifest.quantization) == ("cuda", "float16", "none")


def test_every_weight_is_float16(graph):
    types = {tensor.data_type for tensor in graph.initializer}
    assert FLOAT16 in types
    assert FLOAT not in types


def test_caches_are_float16_and_logits_float32(graph):
    inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    outputs = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    assert outputs.pop(LOGITS) == FLOAT
    assert set(outputs.values()) == {FLOAT16}
    assert [kind for name, kind in inputs.items() if name.startswith("past")] == [FLOAT16] * 2 * LAYERS


def test_lengths_come_from_positions_and_of_the_mask_only_the_width_is_read(graph):
    (width,) = readers(graph, "attention_mask")
    assert width.op_type == "Shape"
    (lengths,) = {node.input[5] for node in graph.node if node.op_type == "GroupQueryAttention"}
    cast = next(node for node in graph.node if lengths in node.output)
    last = next(node for node in graph.node if cast.input[0] in node.output)
    assert (cast.op_type, last.op_type, last.input[0]) == ("Cast", "Gather", "position_ids")


def test_of_the_masks_nodes_none_is_left(graph):
    assert not {"ReduceSum", "Sub"} & {node.op_type for node in graph.node}


def test_what_the_mask_holds_changes_nothing(exported):
    session = opened(exported()).session
    feed = {
        "input_ids": np.array([[5, 6, 7]]),
        "position_ids": np.array([[0, 1, 2]]),
        "attention_mask": np.ones((1, 8), np.int64),
    }
    feed |= {
        each.name: np.zeros((1, each.shape[1], 8, each.shape[3]), np.float16)
        for each in session.get_inputs()
        if each.name.startswith("past")
    }
    expected = session.run([LOGITS], feed)[0]
    garbage = session.run([LOGITS], feed | {"attention_mask": np.array([[0, 9, -5, 0, 1, 0, 77, 3]])})[0]
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(garbage, expected)


def test_its_numbers_are_close_to_the_models(exported, report):
    ids = list(range(5, 25))
    half, exact = (opened(each).decoder().prefill(0, ids, keep=20) for each in (exported(), report))
    assert 0 < np.abs(half - exact).max() < 0.01 * np.abs(exact).max()
    measured = exported().manifest.verification
    assert measured["mean_kl_divergence"] < 1e-5


def test_it_is_half_as_large(exported, report):
    weights = [each.manifest.files["model.onnx.data"].size for each in (exported(), report)]
    assert weights[0] == pytest.approx(weights[1] / 2, rel=0.01)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_quantized_weights_have_float16_scales(exported, quantization):
    graph = graph_of(exported(quantization))
    assert exported(quantization).manifest.quantization == quantization
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert FLOAT not in types.values()
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert {types[node.input[2]] for node in products} == {FLOAT16}
    assert any(node.op_type == "GatherBlockQuantized" for node in graph.node)


def test_positions_and_sums_of_squares_stay_in_float32(helium):
    assert helium.manifest.verification["mean_kl_divergence"] < 1e-5
    graph = graph_of(helium)
    exact = {tensor.name for tensor in graph.initializer if tensor.data_type == FLOAT}
    operators = [node.op_type for node in graph.node if exact.intersection(node.input)]
    assert operators.count("Pow") == 5
    assert set(operators) == {"Mul", "Pow"}


def test_a_weight_beyond_float16_is_refused_by_name(tmp_path, sentencepiece_file):
    state = gpt_state()
    state["blocks.1.mlp.fc2.bias"][0] = 7e4
    torch.save({"model_state_dict": state, "model_config": model_config()}, tmp_path / "model.pt")
    with pytest.raises(ExportError, match=r"gpt .*mlp\.fc2\.bias holds 7e\+04.*Export it for cpu"):
        export_model(tmp_path / "model.pt", sentencepiece_file, device="cuda", progress=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_model_whose_values_outgrow_float16_is_refused(tmp_path, sentencepiece_file):
    state = gpt_state()
    state["blocks.1.mlp.fc1.weight"] *= 3e4
    torch.save({"model_state_dict": state, "model_config": model_config()}, tmp_path / "model.pt")
    with pytest.raises(ExportError, match=r"gpt cannot be exported for cuda: .*65504.*Export it for cpu"):
        export_model(
            tmp_path / "model.pt", sentencepiece_file, device="cuda", verify=False, progress=lambda _: None
        )


def test_every_operator_of_bundles_is_known_to_have_a_kernel_or_not():
    assert {name for _, name in OPERATORS} == KERNELS.keys()


def made(op_type, kind, attributes=(), domain=""):
    """A graph of one operator over numbers of a type."""
    x = ir.Value(name="x", shape=ir.Shape([2]), type=ir.TensorType(kind))
    node = ir.node(op_type, [x], dict(attributes), domain=domain)
    return ir.Graph([x], list(node.outputs), nodes=[node], opset_imports={"": 20})


def test_mixtures_of_experts_are_refused_for_cuda():
    with pytest.raises(
        ExportError, match=r"tiny .* computes MoE .* nobody has tried on a card\. Export it for cpu"
    ):
        refuse_missing(made("MoE", ir.DataType.FLOAT16), "tiny")


@pytest.mark.parametrize(("op_type", "kind"), [("ReduceMean", "INT64"), ("Pad", "INT64"), ("Sin", "INT32")])
def test_what_the_cuda_provider_lacks_is_refused_by_name(op_type, kind):
    refuse_missing(made(op_type, ir.DataType.FLOAT16), "tiny")
    with pytest.raises(
        ExportError, match=f"tiny .* computes {op_type} with {kind.lower()}, .*Export it for cpu"
    ):
        refuse_missing(made(op_type, ir.DataType[kind]), "tiny")


def scaled(*, factor_is_a_shape):
    """A graph that multiplies by itself, or by its shape, and then takes a shape as a shape."""
    x = ir.Value(name="x", shape=ir.Shape(["s", 2]), type=ir.TensorType(ir.DataType.FLOAT16))
    size = ir.node("Shape", [x])
    number = ir.node("Cast", [size.outputs[0]], {"to": int(ir.DataType.FLOAT16)})
    product = ir.node("Mul", [x, number.outputs[0] if factor_is_a_shape else x])
    same = ir.node("Expand", [product.outputs[0], size.outputs[0]])
    return ir.Graph([x], list(same.outputs), nodes=[size, number, product, same], opset_imports={"": 20})


def test_a_shape_that_the_card_would_compute_with_is_refused():
    refuse_copies(scaled(factor_is_a_shape=False), "tiny")
    with pytest.raises(ExportError, match=r"tiny .* at Mul .* copy between the card and the processor"):
        refuse_copies(scaled(factor_is_a_shape=True), "tiny")


def test_a_model_that_computes_with_the_mask_is_refused():
    names = ("position_ids", "attention_mask")
    inputs = [
        ir.Value(name=n, shape=ir.Shape(["b", "s"]), type=ir.TensorType(ir.DataType.INT64)) for n in names
    ]
    node = ir.node("Neg", [inputs[1]])
    graph = ir.Graph(inputs, list(node.outputs), nodes=[node], opset_imports={"": 20})
    with pytest.raises(ExportError, match=r"tiny .* reads the attention mask with Neg"):
        lengths_from_positions(ir.Model(graph, ir_version=10), "tiny")


def opened(report):
    return Model.open(report.path, report.manifest, device="cpu")
