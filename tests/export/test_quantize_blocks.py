"""Weights in blocks, decoded by ONNX Runtime itself."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from llmbuilder.errors import ExportError
from llmbuilder_export.quantize.blocks import BLOCK, recover, round_symmetric, search

BITS = (4, 8)


def decoded(blocks, columns):
    """The weight [N, K] that ONNX Runtime multiplies with."""
    x = ir.val("x", ir.DataType.FLOAT, [columns, columns])
    fields = {"codes": blocks.codes, "scales": blocks.scales, "zero_points": blocks.zero_points}
    stored = {n: ir.val(n, const_value=ir.tensor(a, name=n)) for n, a in fields.items() if a is not None}
    attributes = {"K": columns, "N": len(blocks.codes), "bits": blocks.bits, "block_size": BLOCK}
    node = ir.node("MatMulNBits", [x, *stored.values()], attributes, domain="com.microsoft")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    imports = {"": 20, "com.microsoft": 1}
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[*stored.values()], opset_imports=imports)
    model = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(columns, dtype=np.float32)})[0].T


def random_weight(rows, columns, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def squared_error(weight, blocks, importance=1.0):
    return float((importance * (decoded(blocks, weight.shape[1]) - weight) ** 2).sum())


def plain_rounding(weight):
    """Rounding to 4 bits over the range of each block, zero point included: what searching has to beat."""
    blocks = weight.reshape(len(weight), -1, BLOCK)
    low, high = np.minimum(blocks.min(-1), 0)[..., None], np.maximum(blocks.max(-1), 0)[..., None]
    scale = (high - low) / 15
    zero = np.rint(-low / scale)
    return ((np.clip(np.rint(blocks / scale) + zero, 0, 15) - zero) * scale).reshape(weight.shape)


weights = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 70)),
    elements=st.floats(-8, 8, width=32).map(lambda x: 0.0 if abs(x) < 1e-6 else x),
)


@given(weights)
def test_8_bit_rounding_is_off_by_at_most_half_a_step(weight):
    blocks = round_symmetric(weight)
    step = np.repeat(blocks.scales, BLOCK, 1)[:, : weight.shape[1]]
    assert (np.abs(decoded(blocks, weight.shape[1]) - weight) <= 0.501 * step).all()


@pytest.mark.parametrize("bits", BITS)
@given(weight=weights)
def test_the_search_is_off_by_at_most_the_range_of_a_block(bits, weight):
    error = np.abs(decoded(search(weight, bits), weight.shape[1]) - weight)
    padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % BLOCK))).reshape(len(weight), -1, BLOCK)
    span = np.maximum(padded.max(-1), 0) - np.minimum(padded.min(-1), 0)
    limit = np.repeat(span, BLOCK, 1)[:, : weight.shape[1]] * (0.35 if bits == 4 else 0.01)
    assert (error <= limit + 1e-6).all()


def test_searched_4_bit_weights_are_closer_than_plainly_rounded_ones():
    weight = random_weight(64, 128)
    assert squared_error(weight, search(weight, 4)) < 0.95 * ((plain_rounding(weight) - weight) ** 2).sum()


def test_inputs_that_matter_more_are_met_more_closely():
    weight = random_weight(64, 128)
    importance = np.where(np.arange(128) % 16 == 0, 100, 1).astype(np.float32)
    blind, informed = search(weight, 4), search(weight, 4, importance)
    assert squared_error(weight, informed, importance) < 0.7 * squared_error(weight, blind, importance)


def test_importance_that_is_zero_everywhere_counts_as_none():
    weight = random_weight(3, 64)
    silent = search(weight, 4, np.zeros(64, np.float32))
    np.testing.assert_array_equal(silent.codes, search(weight, 4).codes)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [1, 31, 33, 100])
def test_a_last_block_that_is_not_full_is_padded(bits, columns):
    weight = random_weight(5, columns)
    blocks = search(weight, bits)
    assert blocks.codes.shape == (5, -(-columns // BLOCK), BLOCK * bits // 8)
    assert np.abs(decoded(blocks, columns) - weight).max() < (0.5 if bits == 4 else 0.02)


@pytest.mark.parametrize("bits", BITS)
def test_weights_on_the_grid_are_kept(bits):
    grid = np.random.default_rng(0).integers(0, 1 << bits, (6, 64))
    grid[:, ::BLOCK], grid[:, 1::BLOCK] = 0, (1 << bits) - 1
    weight = (0.25 * (grid - 5)).astype(np.float32)
    np.testing.assert_allclose(decoded(search(weight, bits), 64), weight, atol=1e-5)


@pytest.mark.parametrize("quantize", [round_symmetric, lambda w: search(w, 4), lambda w: search(w, 8)])
def test_zeros_stay_zeros(quantize):
    weight = random_weight(2, 96)
    weight[0, :BLOCK] = 0
    np.testing.assert_array_equal(decoded(quantize(weight), 96)[0, :BLOCK], 0)


def test_zero_points_are_whole_numbers_in_a_byte_and_8_bit_tables_need_none():
    weight = random_weight(4, 96)
    assert search(weight, 8).zero_points.shape == (4, 3)
    assert search(weight, 4).zero_points.shape == (4, 2)
    assert search(weight, 4).zero_points.dtype == np.uint8
    assert round_symmetric(weight).zero_points is None


@pytest.mark.parametrize("bits", BITS)
def test_a_transposed_weight_gives_the_same_blocks(bits):
    weight = random_weight(64, 48)
    a, b = search(weight, bits), search(np.ascontiguousarray(weight.T).T, bits)
    np.testing.assert_array_equal(a.codes, b.codes)
    np.testing.assert_array_equal(a.scales, b.scales)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    weight = random_weight(2, 64)
    weight[1, 3] = bad
    with pytest.raises(ExportError, match="infinities or NaN"):
        search(weight, 8)


@pytest.mark.parametrize(("form", "bits"), [("Q4_0", 4), ("Q8_0", 8), ("Q4_0", 8)])
@pytest.mark.parametrize("columns", [32, 96, 128])
def test_blocks_of_a_gguf_file_are_recovered_bit_for_bit(form, bits, columns):
    random = np.random.default_rng(columns)
    weight = (random.standard_t(2, (200, columns)) * 10.0 ** random.integers(-5, 3, (200, 1))).astype(
        np.float32
    )
    weight[7] = 0
    kind = GGMLQuantizationType[form]
    stored = dequantize(quantize(weight, kind), kind)
    blocks = recover(stored, bits)
    assert blocks.bits == bits
    assert np.array_equal(decoded(blocks, columns), stored)


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_whose_largest_weight_has_not_the_largest_code_are_recovered_too(bits):
    random = np.random.default_rng(bits)
    most = (1 << (bits - 1)) - 1
    levels = np.stack([random.integers(-size, size + 1, 32) for size in range(1, most + 1)])
    scales = random.normal(size=len(levels)).astype(np.float16).astype(np.float32)
    stored = levels.astype(np.float32) * scales[:, None]
    assert np.array_equal(decoded(recover(stored, bits), 32), stored)


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_that_were_in_no_blocks_are_not_recovered(bits):
    weight = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    assert recover(weight, bits) is None
    assert recover(np.ones((3, 40), np.float32), bits) is None
