"""w8a8: products in whole numbers, exact whatever is computed beside them."""

import families
import numpy as np
import onnx_ir as ir
import pytest
from small_models import WINDOW
from test_quantize import nodes, run, silent, small_graph

from llmbuilder.engine.loading import load_engine
from llmbuilder.errors import ExportError
from llmbuilder.verify import verify_bundle
from llmbuilder_export import export_model, pipeline
from llmbuilder_export.fuse import fuse
from llmbuilder_export.graph import name_of
from llmbuilder_export.quantize.calibrate import ROWS, sample_rows
from llmbuilder_export.quantize.integers import candidates, multiply_integers
from llmbuilder_export.quantize.layers import find_linears
from llmbuilder_export.quantize.rows import LARGEST, relative_error, round_outputs
from llmbuilder_export.quantize.smooth import even_out
from llmbuilder_export.quantize.turning import hadamard, turn_size, turned
from llmbuilder_export.quantize.weights import quantize
from llmbuilder_export.sources import load_source

FAMILIES = ("llama", "opt+projected", "gpt2", "gemma2")
SPLIT_EVENLY = "glm"
"""Both halves of its gates are outputs of one layer, and the operator that parts them is told no sizes."""
IN_PROOF = [pytest.param(name, marks=pytest.mark.prove) for name in FAMILIES[2:]]
BATCHES = (2, 7, 8, 33)


@pytest.fixture(scope="module", params=[*FAMILIES[:2], *IN_PROOF, "LLMBuilder"])
def exported(request, checkpoint, byte_bpe_file, tmp_path_factory):
    """A bundle in w8a8 of each kind: norms without and with biases, layers with biases, a product after GELU."""
    folder = tmp_path_factory.mktemp("w8a8")
    source, tokenizer, window = checkpoint, None, WINDOW
    if request.param != "LLMBuilder":
        source, tokenizer, window = folder / "model", byte_bpe_file, families.WINDOW
        families.save_family(request.param, source)
    options = {"quantization": "w8a8", "max_context": window, "progress": silent}
    return export_model(source, tokenizer, folder / "bundle", **options)


def graph_of(report):
    return ir.load(report.path / "model.onnx")


def multiplied(model):
    """The weights of products in whole numbers, as they are stored."""
    laid = {node.outputs[0]: node.inputs[0] for node in nodes(model, "Transpose")}
    weights = [node.inputs[1] for node in nodes(model, "MatMulIntegerToFloat")]
    return [laid.get(weight, weight) for weight in weights]


def test_all_layers_multiply_whole_numbers(exported):
    model = graph_of(exported)
    assert exported.manifest.quantization == "w8a8"
    assert not nodes(model, "MatMulNBits")
    assert len(nodes(model, "MatMulIntegerToFloat")) > 4 * exported.manifest.model.num_layers
    assert {weight.dtype for weight in multiplied(model)} == {ir.DataType.INT8}


def test_a_table_that_embedding_and_head_share_is_stored_once(exported):
    model, vocabulary = graph_of(exported), exported.manifest.model.vocab_size
    stored = model.graph.initializers.values()
    tables = {each.name for each in stored if vocabulary in each.shape and len(each.shape) > 1}
    embeddings = {node.inputs[0].name for node in model.graph if node.op_type.startswith("Gather")} & tables
    heads = {weight.name for weight in multiplied(model)} & tables
    assert len(embeddings) == len(heads) == 1
    assert embeddings == heads or nodes(model, "GatherBlockQuantized")


def test_a_shared_table_whose_head_would_be_far_off_stays_in_blocks(traced, monkeypatch):
    monkeypatch.setattr("llmbuilder_export.quantize.integers.MOST_ERROR", 0)
    model = quantize(traced.clone(), "w8a8", silent, WINDOW)
    (lookup,) = nodes(model, "GatherBlockQuantized")
    assert not nodes(model, "MatMulIntegerToFloat")
    assert nodes(model, "MatMulNBits")[-1].inputs[1] is lookup.inputs[0]


def test_layers_of_one_input_share_its_rounding(exported):
    model = graph_of(exported)
    sources = {node.inputs[0] for node in nodes(model, "MatMulIntegerToFloat")}
    assert len(nodes(model, "QuantizeLinear")) == len(sources)


def test_what_was_measured_is_close_to_the_original(exported):
    assert exported.manifest.verification["mean_kl_divergence"] < 0.05


def test_a_bundle_proves_itself(exported):
    report = verify_bundle(exported.path)
    assert report.passed
    assert "whole numbers" in {check.name for check in report.checks}


def steps(decoder, prompts):
    logits = np.stack([decoder.prefill(row, ids)[-1] for row, ids in enumerate(prompts)])
    history = [logits]
    for _ in range(2):
        history.append(np.array(decoder.step(history[-1].argmax(-1).tolist())))
    return np.stack(history)


def test_a_row_of_a_batch_has_the_bits_of_the_row_alone(exported):
    engine = load_engine(exported.path)
    random = np.random.default_rng(0)
    prompts = [random.integers(engine.usable_vocab, size=1 + row % 9).tolist() for row in range(max(BATCHES))]
    alone = [steps(engine.model.decoder(), [prompt])[:, 0] for prompt in prompts]
    for rows in BATCHES:
        together = steps(engine.model.decoder(rows=rows), prompts[:rows])
        assert all(np.array_equal(together[:, row], alone[row]) for row in range(rows)), f"{rows} rows"


def test_weights_that_are_made_unsigned_have_the_same_bits(exported, monkeypatch):
    """As on processors where sums of signed ones would overflow; elsewhere ONNX Runtime may leave them signed."""
    found = []
    for overflow in (False, True):
        monkeypatch.setattr("llmbuilder.engine.products.sums_overflow", lambda chosen=overflow: chosen)
        found.append(steps(load_engine(exported.path).model.decoder(rows=2), [[1, 2, 3], [4]]))
    assert np.array_equal(*found)


def test_a_prompt_in_parts_has_the_bits_of_the_whole(exported):
    engine = load_engine(exported.path)
    ids = np.random.default_rng(1).integers(engine.usable_vocab, size=WINDOW - 8).tolist()
    whole = engine.model.decoder().prefill(0, ids)
    for cut in (2, 16, 20):  # attention, which is in float32, has other bits after seven
        decoder = engine.model.decoder(capacity=len(ids))
        decoder.prefill(0, ids[:cut])
        assert np.array_equal(decoder.prefill(0, ids[cut:]), whole), f"cut after {cut}"


def test_a_card_is_refused_with_the_reason(checkpoint, tmp_path):
    with pytest.raises(ExportError, match=r"w8a8.*cpu.*whole numbers there only.*int8"):
        export_model(checkpoint, output=tmp_path / "b", quantization="w8a8", device="cuda", progress=silent)


@pytest.fixture(scope="module")
def traced(checkpoint):
    model = pipeline.trace(load_source(checkpoint).network)
    fuse(model)
    return model


def samples(model):
    return sample_rows(model, {name_of(linear.source) for linear in candidates(model.graph)}, 9)


def test_samples_are_rows_of_the_first_step_and_of_every_eighth(traced):
    rows = samples(traced)
    sizes = {name_of(linear.source): linear.shape[1] for linear in candidates(traced.graph)}
    assert {name: each.shape for name, each in rows.items()} == {n: (2 * ROWS, k) for n, k in sizes.items()}


def test_quantizing_twice_gives_the_same_bytes(traced):
    first, second = (
        ir.to_proto(quantize(traced.clone(), "w8a8", silent, WINDOW)).SerializeToString() for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", [FAMILIES[0], SPLIT_EVENLY, *IN_PROOF])
def test_evening_out_leaves_what_is_computed(name, tmp_path):
    families.save_family(name, tmp_path / "model")
    model = pipeline.trace(load_source(tmp_path / "model").network)
    fuse(model)
    rows = samples(model)
    changed = model.clone()
    after = even_out(changed.graph, candidates(changed.graph), rows).rows
    assert {name for name in rows if not np.array_equal(rows[name], after[name])}
    for source, measured in samples(changed).items():
        np.testing.assert_allclose(measured, after[source], atol=2e-3 * np.abs(measured).max())


def evened(model, most):
    """Name of the first attention's input, its samples with features up to so much larger, and evened out."""
    rows = samples(model)
    name = name_of(nodes(model, "GroupQueryAttention")[0].inputs[0].producer().inputs[0])
    spread = rows[name] * np.geomspace(1, most, rows[name].shape[1], dtype=np.float32)
    return name, spread, even_out(model.graph, candidates(model.graph), rows | {name: spread}).rows[name]


def test_features_of_very_different_size_become_alike(traced):
    _, spread, after = evened(traced.clone(), 1000)
    assert np.ptp(np.log(np.abs(after).max(0))) < 0.7 * np.ptp(np.log(np.abs(spread).max(0)))


def size(rows):
    """Root mean square of each feature."""
    return np.sqrt(np.square(rows).mean(0))


def test_a_features_inputs_and_weights_become_of_the_same_size(traced):
    model = traced.clone()
    name, _, after = evened(model, 100)
    (reader,) = (each for each in candidates(model.graph) if name_of(each.source) == name)
    ratio = size(after) / size(reader.matrix())
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.1)  # values are turned afterwards


def test_what_a_norm_makes_is_turned_where_that_lessens_the_error(traced):
    """One large feature in each row, another one each time, spreads well; rows of equal ones have nothing to spread."""
    rows = samples(traced)
    name = name_of(nodes(traced, "GroupQueryAttention")[0].inputs[0].producer().inputs[0])
    width = rows[name].shape[1]
    random = np.random.default_rng(0)
    spikes = (random.standard_normal((width, width)) + 100 * np.eye(width)).astype(np.float32)
    for given, expected in ((spikes, True), (np.sign(random.standard_normal((99, width))), False)):
        model = traced.clone()
        multiply_integers(model.graph, rows | {name: given.astype(np.float32)})
        assert (f"{name}_turn" in model.graph.initializers) == expected


def test_a_layer_that_whole_numbers_would_harm_stays_as_it_is():
    """One large feature leaves no codes to the others, and its weight is zero, so that only they count."""
    model = small_graph(lambda x, w: [ir.node("MatMul", [x, w])], (64, 48))
    (linear,) = find_linears(model.graph)
    linear.weight.const_value.numpy()[0] = 0
    rows = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)
    assert not multiply_integers(model.clone().graph, {"x": rows})
    rows[:, 0] = 1e4
    assert [each.shape for each in multiply_integers(model.graph, {"x": rows})] == [(48, 64)]


def test_a_product_in_whole_numbers_is_numpys_and_rows_of_zeros_give_zeros():
    model = small_graph(lambda x, w: [ir.node("MatMul", [x, w])], (64, 48))
    (linear,) = find_linears(model.graph)
    matrix = linear.matrix().copy()
    x = np.random.default_rng(1).standard_normal((3, 5, 64)).astype(np.float32)
    x[1, 2] = 0
    assert not multiply_integers(model.graph, {"x": x.reshape(-1, 64)})
    weight, inputs = round_outputs(turned(matrix, 64)), turned(x, 64)
    largest = np.abs(inputs).max(-1, keepdims=True)
    codes = np.rint(inputs / np.where(largest > 0, largest, 1) * LARGEST)
    sums = codes.astype(np.int64) @ weight.codes.astype(np.int64)
    result = run(model, x)
    np.testing.assert_allclose(result, sums * weight.scales * largest / LARGEST, rtol=1e-3, atol=0.02)
    assert not result[1, 2].any()
    assert np.isfinite(result).all()


def test_weights_have_the_largest_code_at_most_and_zeros_code_zero():
    weight = np.array([[0.5, -1, 0], [0, 0, 0]], np.float32)
    found = round_outputs(weight)
    assert found.codes.T.tolist() == [[64, -127, 0], [0, 0, 0]]
    np.testing.assert_array_equal(found.scales, np.array([1, 1], np.float32) / np.float32(127))


def test_an_error_is_a_share_of_the_product():
    random = np.random.default_rng(0)
    rows, weight = (random.standard_normal((40, 64)).astype(np.float32) for _ in range(2))
    assert 0 < relative_error(rows, weight) < 0.02
    assert relative_error(rows * 8, weight / 4) == pytest.approx(relative_error(rows, weight), rel=1e-3)
    assert relative_error(rows * 0, weight) == 0


def test_turning_twice_changes_nothing_and_once_spreads_what_is_large():
    rows = np.zeros((1, 64), np.float32)
    rows[0, 5] = 8
    assert np.abs(turned(rows, 64)).max() == 1
    np.testing.assert_array_equal(turned(turned(rows, 64), 64), rows)
    np.testing.assert_allclose(hadamard(2) * np.sqrt(2), [[1, 1], [1, -1]], rtol=1e-6)
    assert [turn_size(width, 32) for width in (64, 96, 80, 7)] == [32, 32, 16, 1]


def test_inputs_of_any_number_of_dimensions_are_turned_in_one_graph():
    """MiniCPM 3 puts the part of keys that all heads share into a dimension of its own."""

    def two_forms(x, one, other, shape):
        apart = ir.node("Reshape", [x, shape])
        products = [ir.node("MatMul", [x, one]), ir.node("MatMul", [apart.outputs[0], other])]
        return [apart, *products, ir.node("Add", [each.outputs[0] for each in products])]

    model = small_graph(two_forms, (64, 48), (64, 48), (4,))
    model.graph.initializers["w2"].const_value = ir.tensor(np.array([0, 1, -1, 64]), name="w2")
    one, other = (linear.matrix().copy() for linear in find_linears(model.graph))
    x = np.random.default_rng(2).standard_normal((1, 5, 64)).astype(np.float32)
    samples_of_both = {name_of(linear.source): x.reshape(-1, 64) for linear in find_linears(model.graph)}
    assert not multiply_integers(model.graph, samples_of_both)
    np.testing.assert_allclose(run(model, x)[0], x @ (one + other).T, atol=1)
