"""Mixtures of experts compute what they are, however their weights lie, and each row alone as beside any others."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from llmbuilder_export.experts import order_experts
from llmbuilder_export.quantize.experts import keep_experts, quantize_experts

EXPERTS, WIDTH, INNER = 4, 64, 48
CLOSE = {32: 1e-5, 8: 0.05, 4: 0.3}
QUANTIZED = pytest.mark.skipif(
    tuple(map(int, ort.__version__.split(".")[:2])) < (1, 31), reason="its QMoE has no accuracy_level"
)
BITS = [32, pytest.param(8, marks=QUANTIZED), pytest.param(4, marks=QUANTIZED)]
PLAIN = {"activation_alpha": 1.0, "activation_beta": 0.0}
CAPPED = {"activation_alpha": 1.7, "activation_beta": 1.0, "swiglu_limit": 2.0}


def weights():
    random = np.random.default_rng(0)
    shapes = {
        "gate": (EXPERTS, INNER, WIDTH), "up": (EXPERTS, INNER, WIDTH), "down": (EXPERTS, WIDTH, INNER),
        "gate_bias": (EXPERTS, INNER), "up_bias": (EXPERTS, INNER), "down_bias": (EXPERTS, WIDTH),
    }  # fmt: skip
    return {name: random.standard_normal(shape).astype(np.float32) * 0.2 for name, shape in shapes.items()}


def laid_out(gate, up, *, paired):
    """Gates and what they are multiplied with, one after the other or in turn, along the second axis."""
    both = np.stack([gate, up], 2 if paired else 1)
    return both.reshape(len(gate), 2 * gate.shape[1], *gate.shape[2:])


def mixture_of(weights, options, *, paired, turned, biased):
    """A graph of one traced mixture."""
    stored = [laid_out(weights["gate"], weights["up"], paired=paired), weights["down"]]
    stored = [each.swapaxes(1, 2) if turned else each for each in stored]
    biases = [laid_out(weights["gate_bias"], weights["up_bias"], paired=paired), weights["down_bias"]]
    x, choice = (
        ir.Value(name=name, shape=ir.Shape(["rows", size]), type=ir.TensorType(ir.DataType.FLOAT))
        for name, size in (("x", WIDTH), ("choice", EXPERTS))
    )
    inputs = [x, choice]
    constants = []
    for index, array in enumerate((stored[0], biases[0], stored[1], biases[1])):
        if index % 2 and not biased:
            inputs.append(None)
            continue
        tensor = ir.tensor(np.ascontiguousarray(array), name=f"w{index}")
        constants.append(
            ir.Value(
                name=f"w{index}", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
            )
        )
        inputs.append(constants[-1])
    attributes = {
        "k": 1, "activation_type": "swiglu", "normalize_routing_weights": 1, "transposed": int(turned),
        "swiglu_fusion": 1 if paired else 2, **options,
    }  # fmt: skip
    node = ir.node("MoE", inputs, attributes, domain="com.microsoft", name="experts")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].shape = ir.Shape(["rows", WIDTH])
    keep = ir.node("Neg", [node.outputs[0]], name="keep")
    keep.outputs[0].name, keep.outputs[0].type = "z", ir.TensorType(ir.DataType.FLOAT)
    keep.outputs[0].shape = ir.Shape(["rows", WIDTH])
    return ir.Model(
        ir.Graph(
            [x, choice], [keep.outputs[0]], nodes=[node, keep], initializers=constants,
            opset_imports={"": 20, "com.microsoft": 1},
        ),
        ir_version=10,
    )  # fmt: skip


def session_of(model, bits):
    order_experts(model.graph)
    if bits == 32:
        keep_experts(model.graph)
    else:
        quantize_experts(model.graph, bits, {}, pytest.fail)
    content = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def run(session, rows, chosen):
    choice = np.eye(EXPERTS, dtype=np.float32)[chosen]
    return -session.run(None, {"x": rows, "choice": choice})[0]


def expected(weights, options, rows, chosen, *, biased):
    results = []
    for row, expert in zip(rows.astype(np.float64), chosen, strict=True):
        gate, up, down = (weights[name][expert] for name in ("gate", "up", "down"))
        gate, up = gate @ row, up @ row
        if biased:
            gate, up = gate + weights["gate_bias"][expert], up + weights["up_bias"][expert]
        if limit := options.get("swiglu_limit"):
            gate, up = gate.clip(max=limit), up.clip(-limit, limit)
        gated = gate / (1 + np.exp(-options["activation_alpha"] * gate)) * (up + options["activation_beta"])
        results.append(down @ gated + (weights["down_bias"][expert] if biased else 0))
    return np.stack(results)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("options", "layout"),
    [
        (PLAIN, {"paired": False, "turned": False, "biased": False}),
        (PLAIN, {"paired": True, "turned": False, "biased": True}),
        (CAPPED, {"paired": True, "turned": True, "biased": True}),
        (CAPPED, {"paired": False, "turned": True, "biased": True}),
    ],
)
def test_experts_compute_their_two_products_and_the_gate_between(bits, options, layout):
    session = session_of(mixture_of(weights(), options, **layout), bits)
    random = np.random.default_rng(1)
    rows, chosen = random.standard_normal((9, WIDTH)).astype(np.float32), random.integers(0, EXPERTS, 9)
    wanted = expected(weights(), options, rows, chosen, biased=layout["biased"])
    assert np.abs(run(session, rows, chosen) - wanted).max() < CLOSE[bits] * np.abs(wanted).max()


@pytest.mark.parametrize("bits", BITS)
def test_a_row_has_the_same_bits_beside_any_others(bits):
    session = session_of(mixture_of(weights(), PLAIN, paired=False, turned=False, biased=False), bits)
    random = np.random.default_rng(2)
    rows, chosen = random.standard_normal((231, WIDTH)).astype(np.float32), random.integers(0, EXPERTS, 231)
    alone = np.concatenate([run(session, rows[[i]], chosen[[i]]) for i in range(len(rows))])
    for size in (2, 7, 8, 33, 231):
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        together = np.concatenate([run(session, rows[part], chosen[part]) for part in parts])
        np.testing.assert_array_equal(together, alone)


def test_experts_of_a_width_without_whole_blocks_stay_in_float32_and_are_told_of(monkeypatch):
    monkeypatch.setattr("llmbuilder_export.quantize.experts.BLOCK", 40)
    model = mixture_of(weights(), PLAIN, paired=True, turned=False, biased=False)
    order_experts(model.graph)
    told = []
    quantize_experts(model.graph, 8, {}, told.append)
    assert told == ["experts: 0.1 MB stay in float32, as their width is no multiple of 40"]
    assert [node.op_type for node in model.graph] == ["Concat", "Concat", "MoE", "Split", "Neg"]
