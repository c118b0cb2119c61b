"""The operators of bundles. The exporter makes no others, and a graph that has another one is not loaded."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmbuilder.bundle import experts, layouts, shapes
from llmbuilder.bundle.shapes import Cost, Rule

OPSETS = {"": 20, "com.microsoft": 1}
"""The version of each set of operators, by its domain."""

F, I, S, G, INTS = 1, 2, 3, 5, 7  # noqa: E741 (FLOAT, INT, STRING, GRAPH, INTS of AttributeProto.AttributeType)
FIELD_OF = {F: "f", I: "i", S: "s", G: "g", INTS: "ints"}
"""Where an attribute of each type has its value."""
BRANCHES = ("then_branch", "else_branch")
"""The graphs of an If, of which a run takes one."""


@dataclass(frozen=True, slots=True)
class Operator:
    """What a node may say, and the shape of what it computes."""

    shape: Rule
    attributes: Mapping[str, int] = field(default_factory=dict)
    """The type of each attribute that it may have, by name."""
    multiplies: Cost | None = None
    """What it costs, if it reads whole weight matrices."""


_MIXTURE = {
    "k": I,
    "activation_type": S,
    "activation_alpha": F,
    "activation_beta": F,
    "swiglu_fusion": I,
    "swiglu_limit": F,
    "normalize_routing_weights": I,
}
_NORM = {"axis": I, "epsilon": F, "stash_type": I}
_REDUCE = {"keepdims": I, "noop_with_empty_axes": I}
_MICROSOFT = {
    "FusedMatMul": Operator(
        shapes.matmul,
        {"alpha": F, "transA": I, "transB": I, "transBatchA": I, "transBatchB": I},
        multiplies=shapes.cost,
    ),
    "GatherBlockQuantized": Operator(
        shapes.gather_blocks, {"bits": I, "block_size": I, "gather_axis": I, "quantize_axis": I}
    ),
    "GroupQueryAttention": Operator(
        shapes.attention,
        {
            "num_heads": I,
            "kv_num_heads": I,
            "scale": F,
            "local_window_size": I,
            "softcap": F,
            "do_rotary": I,
            "rotary_interleaved": I,
            "k_quant_type": S,
            "v_quant_type": S,
            "kv_cache_bit_width": I,
        },
    ),
    "MatMulIntegerToFloat": Operator(shapes.matmul, multiplies=shapes.cost),
    "MatMulNBits": Operator(
        shapes.matmul_blocks,
        {"K": I, "N": I, "bits": I, "block_size": I, "accuracy_level": I},
        multiplies=shapes.cost,
    ),
    "MoE": Operator(experts.mixture, _MIXTURE, multiplies=experts.cost),
    "QMoE": Operator(
        experts.mixture_of_blocks,
        _MIXTURE | {"expert_weight_bits": I, "block_size": I, "accuracy_level": I},
        multiplies=experts.cost,
    ),
    "QuickGelu": Operator(shapes.like_first, {"alpha": F}),
    "RotaryEmbedding": Operator(
        shapes.like_first, {"interleaved": I, "num_heads": I, "rotary_embedding_dim": I}
    ),
    "SkipLayerNormalization": Operator(shapes.like_first, {"epsilon": F}),
    "SkipSimplifiedLayerNormalization": Operator(shapes.like_first, {"epsilon": F}),
}
_ELEMENTWISE = """
    And Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Or Pow Sub Where
"""
_UNARY = "Abs Cos Erf Exp Floor Log Neg Not Reciprocal Relu Sigmoid Sin Softplus Sqrt Tanh"
_SIMPLE = ((_ELEMENTWISE, shapes.broadcast), (_UNARY, shapes.like_first))
_PLAIN = {name: Operator(rule) for names, rule in _SIMPLE for name in names.split()} | {
    "Add": Operator(shapes.arithmetic(operator.add)),
    "Cast": Operator(shapes.cast, {"to": I}),
    "Concat": Operator(layouts.concat, {"axis": I}),
    "ConstantOfShape": Operator(layouts.constant_of_shape),
    "DequantizeLinear": Operator(shapes.like_first),
    "Expand": Operator(layouts.expand),
    "Gather": Operator(layouts.gather, {"axis": I}),
    "GatherElements": Operator(layouts.gather_elements, {"axis": I}),
    "GatherND": Operator(layouts.gather_nd, {"batch_dims": I}),
    "Gelu": Operator(shapes.like_first, {"approximate": S}),
    "Gemm": Operator(
        shapes.matmul, {"alpha": F, "beta": F, "transA": I, "transB": I}, multiplies=shapes.cost
    ),
    "If": Operator(shapes.branches, dict.fromkeys(BRANCHES, G)),
    "LayerNormalization": Operator(shapes.like_first, _NORM),
    "MatMul": Operator(shapes.matmul, multiplies=shapes.cost),
    "Mul": Operator(shapes.arithmetic(operator.mul)),
    "Pad": Operator(layouts.pad, {"mode": S}),
    "QuantizeLinear": Operator(shapes.like_first),
    "Range": Operator(layouts.range_),
    "ReduceMax": Operator(shapes.reduce, _REDUCE),
    "ReduceMean": Operator(shapes.reduce, _REDUCE),
    "ReduceSum": Operator(shapes.reduce, _REDUCE),
    "Reshape": Operator(layouts.reshape, {"allowzero": I}),
    "Shape": Operator(layouts.shape_of, {"start": I, "end": I}),
    "ScatterElements": Operator(layouts.scatter_elements, {"axis": I, "reduction": S}),
    "ScatterND": Operator(shapes.like_first, {"reduction": S}),
    "SimplifiedLayerNormalization": Operator(shapes.like_first, _NORM),
    "Slice": Operator(layouts.slice_),
    "Softmax": Operator(shapes.like_first, {"axis": I}),
    "Split": Operator(layouts.split, {"axis": I, "num_outputs": I}),
    "Squeeze": Operator(layouts.squeeze),
    "Tile": Operator(layouts.tile),
    "TopK": Operator(layouts.top_k, {"axis": I, "largest": I, "sorted": I}),
    "Transpose": Operator(layouts.transpose, {"perm": INTS}),
    "Unsqueeze": Operator(layouts.unsqueeze),
}
OPERATORS = {("", name): each for name, each in _PLAIN.items()} | {
    ("com.microsoft", name): each for name, each in _MICROSOFT.items()
}
"""Every known operator by its domain and name."""


def unknown(domain: str, op_type: str, attributes: Mapping[str, int]) -> str | None:
    """What of a node is not known: its operator, or an attribute; None if nothing.

    Args:
        domain: of the operator.
        op_type: its name.
        attributes: the type of each attribute, by name.
    """
    name = f"{domain}.{op_type}" if domain else op_type or "without a name"
    known = OPERATORS.get((domain, op_type))
    if known is None:
        return name
    odd = [attribute for attribute, kind in attributes.items() if known.attributes.get(attribute) != kind]
    return f"{name} with {odd[0]!r}" if odd else None
