"""Choose the products that are computed in whole numbers, and make them."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder_export.experts import routers
from llmbuilder_export.graph import name_of
from llmbuilder_export.quantize.layers import Linear, find_embedding, find_linears
from llmbuilder_export.quantize.makers import Maker, maker_of
from llmbuilder_export.quantize.rows import MOST_INPUTS, RowProducts, relative_error
from llmbuilder_export.quantize.smooth import even_out
from llmbuilder_export.quantize.turning import turn_size
from llmbuilder_export.tracking import tracked

MOST_ERROR = 0.02
"""Layers whose product would be further off, as a share of its size, keep blocks; in blocks it is about 0.01."""
_MOST_TURNED, _LEAST_TURNED = 64, 8
"""Sizes of groups that are turned while the model runs; larger ones gain little and cost as much more."""
_WORTH = 0.9
"""What norms make is turned where at most this share of the error is left: a turn takes time as well."""


def candidates(graph: ir.Graph) -> list[Linear]:
    """Layers whose product may be in whole numbers: not what chooses experts, or shares a weight with another layer.

    An output head may share its weight with the embedding.
    """
    linears, table = find_linears(graph), _table(graph)
    left, users = routers(graph, linears), Counter(linear.weight for linear in linears)
    return [
        linear
        for linear in linears
        if linear not in left
        and users[linear.weight] == 1
        and (linear.rows_are_outputs or linear.weight is not table)
        and linear.shape[1] <= MOST_INPUTS
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
    lookup, tied = find_embedding(graph), _tied(graph, rows)
    evened = even_out(graph, _alone(graph, tied), rows)
    chosen, linears, products = _alone(graph, tied), find_linears(graph), RowProducts(graph)
    turns, done = _turns(chosen, evened.rows), set[ir.Node]()
    for linear in tracked(chosen, "weights"):
        node, name, turn = linear.nodes[0], name_of(linear.source), turns[linear]
        if node is not tied and relative_error(evened.rows[name], linear.matrix(), turn) > MOST_ERROR:
            continue
        is_table = node is tied
        stored = products.store(linear, turn, is_table)
        if lookup is not None and is_table:
            products.look_up(lookup, stored, evened.factors.get(name))
        products.multiply(linear, stored)
        done.add(node)
    return [linear for linear in linears if linear.nodes[0] not in done]


def _tied(graph: ir.Graph, rows: Mapping[str, FloatArray]) -> ir.Node | None:
    """The product of an output head that shares its weight with the embedding, if it is exact enough.

    That is asked first: where it is evened out, the table must be the head's.
    """
    table = _table(graph)
    head = next((linear for linear in candidates(graph) if linear.weight is table), None)
    if head is None:
        return None
    error = relative_error(rows[name_of(head.source)], head.matrix(), _turn_size(head))
    return head.nodes[0] if error <= MOST_ERROR else None


def _alone(graph: ir.Graph, tied: ir.Node | None) -> list[Linear]:
    """Layers with a weight of their own, and ``tied``."""
    table = _table(graph)
    return [each for each in candidates(graph) if each.weight is not table or each.nodes[0] is tied]


def _table(graph: ir.Graph) -> ir.Value | None:
    """The embedding's weight, if there is one."""
    lookup = find_embedding(graph)
    return None if lookup is None else lookup.inputs[0]


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
    size = _turn_size(readers[0])
    if not size or (maker is not None and maker.turn):
        return 0
    by_norm = maker is not None and isinstance(maker.by, ir.Node)
    return size if not by_norm or _left_of_error(readers, rows, size) <= _WORTH else 0


def _turn_size(linear: Linear) -> int:
    """The size of groups in which a layer's input can be turned; 0 where too small ones would do too little."""
    size = turn_size(linear.shape[1], _MOST_TURNED)
    return size if size >= _LEAST_TURNED else 0


def _left_of_error(readers: list[Linear], rows: FloatArray, size: int) -> float:
    """Error of the products if inputs are turned, as a share of what it is if they are not."""
    matrices = [linear.matrix() for linear in readers]
    before, after = (sum(relative_error(rows, each, turn) ** 2 for each in matrices) for turn in (0, size))
    return math.sqrt(after / before) if before else 1.0
