"""A Llama graph put together by hand, node by node: the yardstick for the traced one.

It has what a decoder needs and nothing else: one merged projection for query, key and value, one for gate and up, one
attention node over a shared cache, fused norms, logits of the last position. Weights are rounded plainly, but stored
as bundles store them: blocks of 32 with zero points, and 8 bits where 4-bit bundles have 8.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

FLOAT = 32
FINER = {FLOAT: FLOAT, 8: 8, 4: 8}
"""Bits of the output layer and of the projection to query, key and value, by those of the other weights."""
MIDDLES = {8: 0x80, 4: 0x88}
BLOCK = 32
OUTPUT = "logits"
LONGEST = 2048
CONTRIB = "com.microsoft"

Array = npt.NDArray[Any]


@dataclass
class Graph:
    """A graph under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def weight(self, name: str, value: Array) -> str:
        """Add an initializer; return its name."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(
        self, operator: str, inputs: list[str], outputs: list[str], domain: str = "", **options: Any
    ) -> str:
        """Add a node; return the name of its first output."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **options))
        return outputs[0]

    def linear(self, x: str, weight: Array, name: str, bits: int) -> str:
        """Multiply by the transpose of weight [N, K]."""
        if bits == FLOAT:
            return self.node("MatMul", [x, self.weight(f"{name}.weight", weight.T)], [name])
        codes, scales = quantize(weight, bits)
        inputs = [x, self.weight(f"{name}.codes", codes), self.weight(f"{name}.scales", scales)]
        if name != OUTPUT:
            middles = np.full((len(weight), -(-scales.shape[1] * bits // 8)), MIDDLES[bits], np.uint8)
            inputs.append(self.weight(f"{name}.zero_points", middles))
        size = {"N": weight.shape[0], "K": weight.shape[1], "bits": bits, "block_size": BLOCK}
        return self.node("MatMulNBits", inputs, [name], CONTRIB, accuracy_level=4, **size)


def quantize(weight: Array, bits: int) -> tuple[Array, Array]:
    """Round weight [N, K] symmetrically; return codes [N, blocks, 32 * bits / 8] and scales [N, blocks]."""
    middle = 1 << (bits - 1)
    blocks = weight.reshape(len(weight), -1, BLOCK)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    scales = extreme / -middle
    scales[scales == 0] = 1
    codes: Array = np.clip(np.round(blocks / scales) + middle, 0, 2 * middle - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[..., 0::2] | codes[..., 1::2] << 4
    return codes, scales[..., 0].astype(np.float32)


def build(source: Path, bits: int, target: Path) -> None:
    """Write the graph of a Llama-type Hugging Face directory, with weights of 32, 8 or 4 bits."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    weights = load_file(source / "model.safetensors")
    graph = Graph()
    _declare(graph, config)
    _rotary_tables(graph, config)
    table = weights["model.embed_tokens.weight"]
    residual = graph.node("Gather", [graph.weight("tokens", table), "input_ids"], ["embedded"])
    scale = graph.weight("first_norm", weights["model.layers.0.input_layernorm.weight"])
    options = {"axis": -1, "epsilon": config["rms_norm_eps"], "stash_type": 1}
    normed = graph.node("SimplifiedLayerNormalization", [residual, scale], ["normed"], **options)
    for layer in range(config["num_hidden_layers"]):
        residual, normed = _layer(graph, config, weights, layer, residual, normed, bits)
    last = graph.node("Gather", [normed, graph.weight("last_index", np.array([-1]))], ["last"], axis=1)
    graph.linear(last, table, OUTPUT, FINER[bits])
    _save(graph, target)


def _declare(graph: Graph, config: dict[str, Any]) -> None:
    """Inputs and outputs."""
    heads, size = config["num_key_value_heads"], config["head_dim"]
    value = helper.make_tensor_value_info
    graph.inputs += [
        value("input_ids", TensorProto.INT64, ["batch", "sequence"]),
        value("last_positions", TensorProto.INT32, ["batch"]),
        value("total_length", TensorProto.INT32, []),
    ]
    graph.outputs.append(value(OUTPUT, TensorProto.FLOAT, ["batch", 1, config["vocab_size"]]))
    for layer in range(config["num_hidden_layers"]):
        for kind in ("key", "value"):
            shape = ["batch", heads, "capacity", size]
            graph.inputs.append(value(f"past.{layer}.{kind}", TensorProto.FLOAT, shape))
            graph.outputs.append(value(f"present.{layer}.{kind}", TensorProto.FLOAT, shape))


def _rotary_tables(graph: Graph, config: dict[str, Any]) -> None:
    size = config["head_dim"]
    angles = np.outer(np.arange(LONGEST), 1 / config["rope_theta"] ** (np.arange(0, size, 2) / size))
    graph.weight("cosines", np.cos(angles).astype(np.float32))
    graph.weight("sines", np.sin(angles).astype(np.float32))


def _layer(
    graph: Graph,
    config: dict[str, Any],
    weights: dict[str, Array],
    layer: int,
    residual: str,
    normed: str,
    bits: int,
) -> tuple[str, str]:
    """Add a layer; return the names of the residual and of the normed input of what follows."""
    mine = f"model.layers.{layer}."
    merged = np.concatenate([weights[f"{mine}self_attn.{name}_proj.weight"] for name in "qkv"])
    projected = graph.linear(normed, merged, f"{layer}.projected", FINER[bits])
    attended = _attention(graph, config, layer, projected)
    mixed = graph.linear(attended, weights[f"{mine}self_attn.o_proj.weight"], f"{layer}.mixed", bits)
    scale = graph.weight(f"{layer}.second_norm", weights[f"{mine}post_attention_layernorm.weight"])
    residual, normed = _add_and_norm(graph, config, residual, mixed, scale, f"{layer}.a")
    fed = _feed_forward(graph, weights, layer, normed, bits)
    last = layer + 1 == config["num_hidden_layers"]
    following = "model.norm.weight" if last else f"model.layers.{layer + 1}.input_layernorm.weight"
    scale = graph.weight(f"{layer}.next_norm", weights[following])
    return _add_and_norm(graph, config, residual, fed, scale, f"{layer}.b")


def _attention(graph: Graph, config: dict[str, Any], layer: int, projected: str) -> str:
    inputs = [projected, "", "", f"past.{layer}.key", f"past.{layer}.value"]
    inputs += ["last_positions", "total_length", "cosines", "sines"]
    outputs = [f"{layer}.attended", f"present.{layer}.key", f"present.{layer}.value"]
    heads = {"num_heads": config["num_attention_heads"], "kv_num_heads": config["num_key_value_heads"]}
    return graph.node("GroupQueryAttention", inputs, outputs, CONTRIB, do_rotary=1, **heads)


def _add_and_norm(
    graph: Graph, config: dict[str, Any], residual: str, change: str, scale: str, name: str
) -> tuple[str, str]:
    outputs = [f"{name}.normed", "", "", f"{name}.residual"]
    options = {"epsilon": config["rms_norm_eps"]}
    graph.node("SkipSimplifiedLayerNormalization", [residual, change, scale], outputs, CONTRIB, **options)
    return outputs[3], outputs[0]


def _feed_forward(graph: Graph, weights: dict[str, Array], layer: int, x: str, bits: int) -> str:
    gate, up, down = (
        weights[f"model.layers.{layer}.mlp.{name}_proj.weight"] for name in ("gate", "up", "down")
    )
    both = graph.linear(x, np.concatenate([gate, up]), f"{layer}.gate_up", bits)
    widths = graph.weight(f"{layer}.widths", np.array([len(gate), len(up)]))
    graph.node("Split", [both, widths], [f"{layer}.gate", f"{layer}.up"], axis=-1)
    active = graph.node("QuickGelu", [f"{layer}.gate"], [f"{layer}.active"], CONTRIB, alpha=1.0)  # SiLU
    product = graph.node("Mul", [active, f"{layer}.up"], [f"{layer}.product"])
    return graph.linear(product, down, f"{layer}.down", bits)


def _save(graph: Graph, target: Path) -> None:
    proto = helper.make_graph(graph.nodes, "llama", graph.inputs, graph.outputs, graph.weights)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=10)
    target.with_name(f"{target.name}.data").unlink(missing_ok=True)
    onnx.save(model, target, save_as_external_data=True, location=f"{target.name}.data")
