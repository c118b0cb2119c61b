"""Choose the products that are computed in whole numbers, and make them."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import LOGITS
from llmbuilder_export.experts import routers
from llmbuilder_export.graph import name_of
from llmbuilder_export.quantize.layers import Linear, feeding, find_embedding, find_linears
from llmbuilder_export.quantize.makers import Maker, maker_of
from llmbuilder_export.quantize.rows import MOST_INPUTS, RowProducts, relative_error, round_outputs
from llmbuilder_export.quantize.smooth import even_out
from llmbuilder_export.quantize.turning import turn_size, turned
from llmbuilder_export.tracking import tracked

MOST_ERROR = 0.02
"""Layers whose product would be further off, as a share of its size, keep blocks; in blocks it is about 0.01."""
_MOST_TURNED, _LEAST_TURNED = 64, 8
"""Sizes of groups that are turned while the model runs; larger ones gain little and cost as much more."""
_WORTH = 0.9
"""What norms make is turned where at most this share of the error is left: a turn takes time as well."""


def candidates(graph: ir.Graph) -> list[Linear]:
    """Layers whose product may be in whole numbers: not the output head, what chooses experts, or shares a weight."""
    linears, lookup = find_linears(graph), find_embedding(graph)
    left = feeding([value for value in graph.outputs if value.name == LOGITS], linears) | routers(
        graph, linears
    )
    users = Counter(linear.weight for linear in linears)
    if lookup is not None and lookup.inputs[0] is not None:
        users[lookup.inputs[0]] += 1
    return [
        linear
        for linear in linears
        if linear not in left and users[linear.weight] == 1 and linear.shape[1] <= MOST_INPUTS
    ]


def multiply_integers(graph: ir.Graph, rows: Mapping[str, FloatArray]) -> list[Linear]:
    """Compute as many products as are exact enough in whole numbers, in place.

    Args:
        graph: a graph in float32.
        rows: samples [rows, K] of each layer's input, by name.

    Returns:
        The layers that are still in float32.

    Raises:
        ExportError: a weight is not finite.
    """
    rows = even_out(graph, candidates(graph), rows)
    chosen, products = candidates(graph), RowProducts(graph)
    turns = _turns(chosen, rows)
    left = [
        linear for linear in find_linears(graph) if linear.nodes[0] not in {each.nodes[0] for each in chosen}
    ]
    for linear in tracked(chosen, "weights"):
        turn, matrix, inputs = turns[linear], linear.matrix(), rows[name_of(linear.source)]
        if turn:
            matrix, inputs = turned(matrix, turn), turned(inputs, turn)
        if relative_error(inputs, matrix) > MOST_ERROR:
            left.append(linear)
        else:
            products.multiply(linear, round_outputs(matrix), turn)
    return left


def _turns(linears: list[Linear], rows: Mapping[str, FloatArray]) -> dict[Linear, int]:
    """Size of the groups in which each layer's input is turned while the model runs."""
    readers: dict[ir.Value, list[Linear]] = defaultdict(list)
    for linear in linears:
        readers[linear.source].append(linear)
    turns: dict[Linear, int] = {}
    for source, group in readers.items():
        size = _turn(maker_of(source, group, linears), group, rows[name_of(source)])
        turns |= dict.fromkeys(group, size)
    return turns


def _turn(maker: Maker | None, readers: list[Linear], rows: FloatArray) -> int:
    """`_turns` of the layers of one input. Values of attention are turned where they are made."""
    size = turn_size(readers[0].shape[1], _MOST_TURNED)
    if size < _LEAST_TURNED or (maker is not None and maker.turn):
        return 0
    by_norm = maker is not None and isinstance(maker.by, ir.Node)
    return size if not by_norm or _left_of_error(readers, rows, size) <= _WORTH else 0


def _left_of_error(readers: list[Linear], rows: FloatArray, size: int) -> float:
    """Error of the products if inputs are turned, as a share of what it is if they are not."""
    matrices = [linear.matrix() for linear in readers]
    before = sum(relative_error(rows, matrix) ** 2 for matrix in matrices)
    inputs = turned(rows, size)
    after = sum(relative_error(inputs, turned(matrix, size)) ** 2 for matrix in matrices)
    return math.sqrt(after / before) if before else 1.0
