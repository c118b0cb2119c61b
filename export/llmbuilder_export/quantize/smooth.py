"""Even out the features that are rounded together, without changing what the network computes.

A row of inputs has one scale when it is rounded, so that a few large features leave few codes to the others. Each
feature is divided where it is made, and the weights that read it are multiplied by the same factor (Xiao et al. 2022,
SmoothQuant). A norm divides by its weights, a linear layer by the rows of its own, so nothing is added to the graph.
Attention's values are turned as well, which spreads what is large over a head (Ashkboos et al. 2024, QuaRot).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from llmbuilder.arrays import FloatArray
from llmbuilder_export.graph import (
    add_initializer,
    add_lazy,
    drop_unread,
    name_of,
    optional,
    shape_of,
    tensor_of,
)
from llmbuilder_export.quantize.layers import Linear
from llmbuilder_export.quantize.makers import NORM_WEIGHTS, Maker, maker_of
from llmbuilder_export.quantize.turning import turned

_LEAST = 0.01
"""Least size of a feature or weight that counts, as a share of the mean: calibration sees only so much text."""

_Change = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class _Edge:
    """Features between what makes them and the linear layers that read them."""

    maker: Maker
    readers: list[Linear]
    factor: FloatArray
    """What each feature that is made is divided by."""

    def read(self, rows: FloatArray) -> FloatArray:
        """Inputs [rows, K] as they will be."""
        return turned(rows / self.factor[self.maker.features], self.maker.turn)

    def reading(self, weight: FloatArray) -> FloatArray:
        """The weight [N, K] of a reader as it must be."""
        return turned(weight * self.factor[self.maker.features], self.maker.turn)

    def making(self, outputs: FloatArray) -> FloatArray:
        """The weight [N, K] or bias [N] of the linear layer that makes them."""
        made = np.unique(self.maker.features)
        changed = outputs.copy()
        part = outputs[made].T / self.factor[made]
        changed[made] = turned(part, self.maker.turn).T
        return changed


@dataclass(frozen=True, slots=True)
class Evened:
    """What became of the inputs of linear layers."""

    rows: Mapping[str, FloatArray]
    """Samples [rows, K] as they are now, by the name of the input."""
    factors: Mapping[str, FloatArray]
    """What features [K] were divided by, by the name of the input they belong to."""


def even_out(graph: ir.Graph, linears: Collection[Linear], rows: Mapping[str, FloatArray]) -> Evened:
    """Divide features by how large they are, in place; the graph computes what it did.

    Args:
        graph: a graph in float32. New weights are lazy: they exist while they are read.
        linears: layers that may be changed, no two of the same weight.
        rows: samples [rows, K] of each layer's input, by name.
    """
    edges = _edges(linears, rows)
    changes: dict[Linear, list[_Change]] = defaultdict(list)
    outputs: dict[Linear, list[_Change]] = defaultdict(list)
    for edge in edges.values():
        for linear in edge.readers:
            changes[linear].append(edge.reading)
        if isinstance(edge.maker.by, Linear):
            changes[edge.maker.by].append(edge.making)
            outputs[edge.maker.by].append(edge.making)
        else:
            _divide_norm(graph, edge.maker.by, edge.factor)
    for linear, steps in changes.items():
        _change_weight(graph, linear, steps)
    for linear, steps in outputs.items():
        _change_bias(graph, linear, steps)
    return Evened(
        {name: edges[name].read(each) if name in edges else each for name, each in rows.items()},
        {name: edge.factor[edge.maker.features] for name, edge in edges.items()},
    )


def _edges(linears: Collection[Linear], rows: Mapping[str, FloatArray]) -> dict[str, _Edge]:
    """What can be evened out, by the name of the readers' input."""
    readers: dict[ir.Value, list[Linear]] = defaultdict(list)
    for linear in linears:
        readers[linear.source].append(linear)
    found: dict[str, _Edge] = {}
    for source, group in readers.items():
        if (maker := maker_of(source, group, linears)) is not None:
            name = name_of(source)
            found[name] = _Edge(maker, group, _factor(rows[name], group, maker))
    return found


def _factor(rows: FloatArray, readers: Collection[Linear], maker: Maker) -> FloatArray:
    """What each feature of ``maker`` is divided by, up to the last one read; of geometric mean 1 over the inputs.

    It leaves inputs and weights of a feature the same size, as root mean squares. If the largest numbers of rows and of
    outputs stayed what they are, that would make the sum of both errors least.
    """
    size = _not_small(np.sqrt(np.square(rows).mean(0)))
    squares = np.sum([np.square(linear.matrix()).sum(0) for linear in readers], axis=0)
    logarithm = np.log(size / _not_small(np.sqrt(squares))) / 2
    total, count = np.bincount(maker.features, logarithm), np.bincount(maker.features)
    means = np.where(count > 0, total / np.maximum(count, 1), logarithm.mean())
    factor: FloatArray = np.exp(means - logarithm.mean()).astype(np.float32)
    return factor


def _not_small(sizes: FloatArray) -> FloatArray:
    result: FloatArray = np.maximum(sizes, _LEAST * sizes.mean() + np.finfo(np.float32).tiny)
    return result


def _divide_norm(graph: ir.Graph, node: ir.Node, factor: FloatArray) -> None:
    """Give a norm weights of its own, divided by ``factor`` [K]; norms may have shared them."""
    for index in NORM_WEIGHTS[node.op_type]:
        if (weight := optional(node, index)) is not None:
            divided: FloatArray = (tensor_of(weight).numpy() / factor).astype(np.float32)
            name = f"{name_of(node.outputs[0])}_{name_of(weight)}"
            node.replace_input_with(index, add_initializer(graph, name, divided))
            drop_unread(graph, weight)


def _change_weight(graph: ir.Graph, linear: Linear, steps: list[_Change]) -> None:
    """Let a layer read its weight as it is after all ``steps``, each from [N, K] to [N, K]."""
    node, old = linear.nodes[0], linear.weight

    def made() -> FloatArray:
        matrix = linear.matrix()
        for step in steps:
            matrix = step(matrix)
        return np.ascontiguousarray(matrix if linear.rows_are_outputs else matrix.T)

    name = f"{name_of(linear.result)}_weights_evened"
    node.replace_input_with(1, add_lazy(graph, name, made, shape_of(old)))
    drop_unread(graph, old)  # its tensor stays with ``linear``


def _change_bias(graph: ir.Graph, linear: Linear, steps: list[_Change]) -> None:
    if linear.bias is None:
        return
    bias: FloatArray = tensor_of(linear.bias).numpy()
    for step in steps:
        bias = step(bias)
    node = linear.nodes[-1]
    index = list(node.inputs).index(linear.bias)
    node.replace_input_with(index, add_initializer(graph, f"{name_of(linear.result)}_bias_evened", bias))
    drop_unread(graph, linear.bias)
