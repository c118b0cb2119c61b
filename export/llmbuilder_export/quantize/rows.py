"""Multiply in whole numbers: weights with one scale an output, inputs rounded to 8 bits with one scale a row.

Sums of whole numbers are exact, so a row's result does not depend on the rows beside it. The inputs are rounded by
plain operators, because those of ONNX Runtime that round and multiply in one take one scale for all rows.

Weights are signed and inputs unsigned: that is what processors with VNNI multiply. x86 without it would add such
products in 16 bits, which overflow, so the runtime has ONNX Runtime turn the weights unsigned there
(`llmbuilder.engine.products`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder_export.graph import (
    MICROSOFT,
    add_initializer,
    drop_unread,
    name_of,
    rank_of,
    replace,
    required,
)
from llmbuilder_export.quantize.blocks import refuse_infinite
from llmbuilder_export.quantize.layers import Linear
from llmbuilder_export.quantize.turning import hadamard, turned

LARGEST = 127
"""Largest code, less that of zero: codes go as far below as above."""
MIDDLE = 128
"""The code of an input that stands for zero."""
MOST_INPUTS = 1 << 16
"""Inputs whose products, of at most 255 by 127, add up to less than 2 ** 31."""
_OUTPUTS = 8192
"""Outputs of a weight that are rounded at a time."""
SignedArray = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class RowCodes:
    """A weight as MatMulIntegerToFloat reads it: w = scale * code.

    Attributes:
        codes: [K, N].
        scales: [N].
    """

    codes: SignedArray
    scales: FloatArray


@dataclass(frozen=True, slots=True)
class Stored:
    """Initializers of `RowCodes`.

    Attributes:
        codes: [K, N]; of a table [N, K], as an embedding reads it.
        scales: [N], over `LARGEST`: an input's scale is its largest number over that, and that part is in here.
        turn: size of the groups of features that are turned; 0: none are.
        is_table: whether an embedding reads the codes too.
    """

    codes: ir.Value
    scales: ir.Value
    turn: int
    is_table: bool


def round_outputs(weight: FloatArray, turn: int = 0) -> RowCodes:
    """Quantize weight [N, K]: the largest weight of an output gets code 127 or -127.

    Args:
        weight: rounded some outputs at a time, so that a head of many outputs is never copied whole.
        turn: size of the groups of features that are turned first; 0: none are.

    Raises:
        ExportError: the weight holds infinities or NaN.
    """
    refuse_infinite(weight)
    codes, scales = np.empty(weight.shape, np.int8), np.empty(len(weight), np.float32)
    for part in _outputs(weight):
        codes[part], scales[part] = _levels(turned(weight[part], turn))
    return RowCodes(codes.T, scales)


def relative_error(rows: FloatArray, weight: FloatArray, turn: int = 0) -> float:
    """How far products in whole numbers are from ``rows @ weight.T``, as a share of its root mean square.

    Args:
        rows: inputs [rows, K].
        weight: [N, K].
        turn: size of the groups of features that are turned in both; 0: none are.
    """
    inputs = turned(rows, turn)
    rounded, size, error = _rounded(inputs), 0.0, 0.0
    for part in _outputs(weight):
        matrix = turned(weight[part], turn)
        exact = inputs @ matrix.T
        size += float(np.square(exact).sum())
        error += float(np.square(rounded @ _rounded(matrix).T - exact).sum())
    return math.sqrt(error / size) if size > 0 else 0.0


def _outputs(weight: FloatArray) -> Iterator[slice]:
    """Parts of a weight's outputs."""
    return (slice(start, start + _OUTPUTS) for start in range(0, len(weight), _OUTPUTS))


def _rounded(rows: FloatArray) -> FloatArray:
    levels, scales = _levels(rows)
    return levels * scales[:, None]


def _levels(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Whole numbers [rows, K] and the scale of each row."""
    largest = np.abs(rows).max(-1)
    scales = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(LARGEST)
    return np.rint(rows / scales[:, None]), scales


class RowProducts:
    """Puts products in whole numbers into one graph; layers of one input share its rounding."""

    def __init__(self, graph: ir.Graph) -> None:
        """Work on ``graph``."""
        self._graph = graph
        self._constants: dict[str, ir.Value] = {}
        self._rounded: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def store(self, linear: Linear, turn: int, is_table: bool) -> Stored:
        """Round a layer's weight and keep it.

        Args:
            linear: the layer.
            turn: size of the groups of features that are turned before they are rounded; 0: none are.
            is_table: whether an embedding will read it too.

        Raises:
            ExportError: the weight holds infinities or NaN.
        """
        name, weight = name_of(linear.result), round_outputs(linear.matrix(), turn)
        codes = add_initializer(self._graph, f"{name}_codes", weight.codes.T if is_table else weight.codes)
        scales = add_initializer(self._graph, f"{name}_scales", weight.scales / np.float32(LARGEST))
        return Stored(codes, scales, turn, is_table)

    def multiply(self, linear: Linear, weight: Stored) -> None:
        """Put a product in the place of a linear layer."""
        rounded, largest = self._round(linear, weight.turn)
        one = self._constant("one", np.float32(1))
        # One for each product: ONNX Runtime, where it makes weights unsigned, makes the zero so as often as it is read.
        zero = add_initializer(self._graph, f"{name_of(linear.result)}_zero", np.array(0, np.int8))
        # ONNX Runtime turns a table once, while it loads.
        laid = [ir.node("Transpose", [weight.codes], {"perm": [1, 0]})] if weight.is_table else []
        codes = laid[0].outputs[0] if laid else weight.codes
        operands = [rounded, codes, one, weight.scales, self._middle(), zero]
        product = ir.node("MatMulIntegerToFloat", operands, domain=MICROSOFT, name=linear.nodes[0].name)
        nodes = [*laid, product, ir.node("Mul", [product.outputs[0], largest])]
        if linear.bias is not None:
            nodes.append(ir.node("Add", [nodes[-1].outputs[0], linear.bias]))
        replace(self._graph, linear.nodes, nodes)
        drop_unread(self._graph, linear.weight)

    def look_up(self, gather: ir.Node, table: Stored, factor: FloatArray | None) -> None:
        """Put rows of a head's table in the place of those of an embedding, which had the same weight.

        Args:
            gather: looks ids [batch, sequence] up.
            table: codes [N, K], turned as the head's inputs are; turning twice changes nothing.
            factor: what features [K] of the head's weight were multiplied by; None: nothing.
        """
        name, weight, ids = name_of(gather.outputs[0]), required(gather.inputs[0]), gather.inputs[1]
        codes = ir.node("Gather", [table.codes, ids])
        numbers = ir.node("Cast", [codes.outputs[0]], {"to": ir.DataType.FLOAT})
        scales = ir.node("Gather", [table.scales, ids])
        each = ir.node("Unsqueeze", [scales.outputs[0], self._constant("last", np.array([-1]))])
        rows = ir.node("Mul", [numbers.outputs[0], each.outputs[0]])
        rows.outputs[0].name = f"{name}_rows"
        nodes = [codes, numbers, scales, each, rows]
        if table.turn:
            nodes += self._turn(rows.outputs[0], table.turn)
        back = np.float32(LARGEST) / (np.ones(1, np.float32) if factor is None else factor)
        whole = add_initializer(self._graph, f"{name}_factors", back)
        nodes.append(ir.node("Mul", [nodes[-1].outputs[0], whole]))
        replace(self._graph, [gather], nodes)
        drop_unread(self._graph, weight)

    def _round(self, linear: Linear, turn: int) -> tuple[ir.Value, ir.Value]:
        """A layer's input in codes [..., K], and its largest number [..., 1].

        A row of zeros is divided by zero: whatever codes that gives, they are multiplied by zero again.
        """
        source = linear.source
        if source not in self._rounded:
            nodes = self._turn(source, turn) if turn else []
            value = nodes[-1].outputs[0] if nodes else source
            size = ir.node("Abs", [value])
            last = self._constant("last", np.array([-1]))
            largest = ir.node("ReduceMax", [size.outputs[0], last], {"keepdims": 1})
            share = ir.node("Div", [value, largest.outputs[0]])
            step = self._constant("step", np.float32(1 / LARGEST))
            codes = ir.node("QuantizeLinear", [share.outputs[0], step, self._middle()])
            self._graph.insert_before(linear.nodes[0], [*nodes, size, largest, share, codes])
            self._rounded[source] = codes.outputs[0], largest.outputs[0]
        return self._rounded[source]

    def _turn(self, source: ir.Value, size: int) -> list[ir.Node]:
        """Nodes that turn groups of ``size`` features. Each has a matrix of its own, as graphs are checked."""
        matrix = add_initializer(self._graph, f"{name_of(source)}_turn", hadamard(size))
        kept = [0] * (rank_of(source) - 1)
        parts = self._constant(f"groups_of_{size}_behind_{len(kept)}", np.array([*kept, -1, size]))
        groups = ir.node("Reshape", [source, parts])
        product = ir.node("MatMul", [groups.outputs[0], matrix])
        whole = self._constant(f"whole_behind_{len(kept)}", np.array([*kept, -1]))
        return [groups, product, ir.node("Reshape", [product.outputs[0], whole])]

    def _middle(self) -> ir.Value:
        return self._constant("middle", np.uint8(MIDDLE))

    def _constant(self, name: str, content: npt.ArrayLike) -> ir.Value:
        if name not in self._constants:
            self._constants[name] = add_initializer(self._graph, f"rows_{name}", np.asarray(content))
        return self._constants[name]
