"""What ONNX Runtime's CUDA provider has kernels for, of the operators that bundles have.

From docs/OperatorKernels.md of https://github.com/microsoft/onnxruntime at commit
001d12d2623fd411ce0f83d05abb5e82304a3389, for opset 20: the types that an operator computes with, of those that bundles
have.
"""

import onnx_ir as ir

from llmbuilder.errors import ExportError
from llmbuilder_export.cuda.types import Types, element_types
from llmbuilder_export.graph import nodes_of, optional, required
from llmbuilder_export.networks.attention import SINKS_INPUT

_F16, _F32 = ir.DataType.FLOAT16, ir.DataType.FLOAT
_I32, _I64, _U8, _BOOL = ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.BOOL
_FLOATS = frozenset({_F16, _F32})
_NUMBERS = _FLOATS | {_I32, _I64}
_ALL = _NUMBERS | {_U8, _BOOL}

_TABLE: tuple[tuple[str, frozenset[ir.DataType]], ...] = (
    (
        "Cast Concat ConstantOfShape Expand Gather Reshape ScatterND Shape Slice Split Squeeze Transpose Unsqueeze",
        _ALL,
    ),
    ("Abs Add Div Mul Sub", _NUMBERS | {_U8}),
    ("Greater GreaterOrEqual Less LessOrEqual Max Min Mod Neg Pow ReduceSum Tile", _NUMBERS),
    ("Equal", _NUMBERS | {_BOOL}),
    ("And Not Or", frozenset({_BOOL})),
    ("Where", _NUMBERS | {_U8}),
    ("Clip", _FLOATS | {_I64, _U8}),
    ("GatherND", _FLOATS | {_I64, _BOOL}),
    ("Pad", _FLOATS | {_BOOL}),
    ("Range", frozenset({_F32, _I32, _I64})),
    ("ReduceMean", _FLOATS | {_I32}),
    ("Cos Erf Exp Floor Gelu Gemm LayerNormalization Log MatMul Reciprocal Relu Sigmoid", _FLOATS),
    ("SimplifiedLayerNormalization Sin Softmax Softplus Sqrt Tanh", _FLOATS),
    ("FusedMatMul MatMulNBits QuickGelu RotaryEmbedding", _FLOATS),
    ("SkipLayerNormalization SkipSimplifiedLayerNormalization", _FLOATS),
    ("GatherBlockQuantized", frozenset({_U8})),
    ("GroupQueryAttention", frozenset({_F16})),
    ("GatherElements ScatterElements", _NUMBERS),
    ("TopK", _FLOATS | {_I64, _I32}),
    ("DequantizeLinear If MatMulIntegerToFloat QuantizeLinear ReduceMax", frozenset()),  # of bundles for cpu
    ("MoE QMoE", frozenset()),  # it has them, but nobody has tried whether a row's bits depend on the others
)
KERNELS = {name: types for names, types in _TABLE for name in names.split()}
"""Types of the operand that an operator is known by: the first, but for Where, whose first is a condition."""


def refuse_missing(graph: ir.Graph, architecture: str) -> None:
    """Raise if the CUDA provider would leave a node to the processor.

    Raises:
        ExportError: it has no such kernel.
    """
    types = element_types(graph)
    _refuse_sinks(graph, architecture)
    for node in graph:
        kind = _operand(node, types)
        if kind not in KERNELS.get(node.op_type, ()):
            untried = not KERNELS.get(node.op_type, (kind,))
            reason = "nobody has tried on a card" if untried else "ONNX Runtime's CUDA provider does not"
            raise ExportError(
                f"{architecture} cannot be exported for cuda: it computes {node.op_type} with {kind.name.lower()}, "
                f"which {reason}. Export it for cpu."
            )


def _refuse_sinks(graph: ir.Graph, architecture: str) -> None:
    if any(optional(node, SINKS_INPUT) is not None for node in nodes_of(graph, "GroupQueryAttention")):
        raise ExportError(
            f"{architecture} cannot be exported for cuda: it computes GroupQueryAttention with sinks, which nobody has "
            "tried on a card. Export it for cpu."
        )


def _operand(node: ir.Node, types: Types) -> ir.DataType:
    return types[required(node.inputs[1 if node.op_type == "Where" else 0])]
