"""Sums and means of a row: what they were, with bits that do not depend on the rows before it."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from llmbuilder_export.quantize.layers import find_linears
from llmbuilder_export.reductions import fix_order, is_sum

ROWS = 33
SIZES = [2, 3, 5, 6, 7, 8, 10, 25, 63, 64]


def reduction(op_type, size, *, keepdims=1, axis=-1, kind=ir.DataType.FLOAT):
    x, axes = (
        ir.Value(name="x", shape=ir.Shape(["rows", size]), type=ir.TensorType(kind)),
        ir.Value(
            name="axes",
            shape=ir.Shape([1]),
            type=ir.TensorType(ir.DataType.INT64),
            const_value=ir.tensor([axis]),
        ),
    )
    node = ir.node(op_type, [x, axes], {"keepdims": keepdims}, name="reduced")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(kind)
    graph = ir.Graph(
        [x], list(node.outputs), nodes=[node], initializers=[axes], opset_imports={"": 20, "com.microsoft": 1}
    )
    fix_order(graph)
    return ir.Model(graph, ir_version=10)


def run(model, rows):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    together = session.run(None, {"x": rows})[0]
    alone = [
        session.run(None, {"x": row[None].copy()})[0] for row in rows
    ]  # copies lie where they are aligned
    return together, np.concatenate(alone)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean"])
def test_a_row_has_the_bits_of_the_row_alone(op_type, size, keepdims):
    rows = np.random.default_rng(size).standard_normal((ROWS, size)).astype(np.float32)
    together, alone = run(reduction(op_type, size, keepdims=keepdims), rows)
    np.testing.assert_array_equal(together, alone)
    expected = (np.sum if op_type == "ReduceSum" else np.mean)(
        rows.astype(np.float64), -1, keepdims=bool(keepdims)
    )
    np.testing.assert_allclose(together, expected, atol=1e-5)


def test_what_takes_the_place_of_a_sum_is_no_layer_that_could_be_quantized():
    graph = reduction("ReduceSum", 6, axis=1).graph
    assert [node.op_type for node in graph] == ["FusedMatMul"]
    assert not find_linears(graph)


def test_squares_that_are_summed_up_stay_exact_on_cards_as_they_were():
    """They do wherever all that reads them is a sum."""
    (plain,), (product,) = (reduction("ReduceMean", size).graph for size in (8, 6))
    assert is_sum(plain)
    assert is_sum(product)
    assert not is_sum(ir.node("FusedMatMul", [product.inputs[0], plain.inputs[0]]))


@pytest.mark.parametrize(
    "options", [{"size": 8}, {"size": 3}, {"size": 6, "axis": 0}, {"size": 6, "kind": ir.DataType.INT64}]
)
def test_sums_that_are_right_stay_as_they_are(options):
    assert [node.op_type for node in reduction("ReduceSum", **options).graph] == ["ReduceSum"]
