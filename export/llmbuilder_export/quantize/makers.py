"""Find what makes the input of a linear layer, where it can be changed and the layer's weight with it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from llmbuilder_export.graph import is_weight, optional, producer, required, shape_of, tensor_of
from llmbuilder_export.quantize.layers import Linear
from llmbuilder_export.quantize.turning import turn_size

NORM_WEIGHTS = {
    "SimplifiedLayerNormalization": (1,),
    "SkipSimplifiedLayerNormalization": (2,),
    "LayerNormalization": (1, 2),
    "SkipLayerNormalization": (2, 3),
}
"""Inputs of each norm that its result is proportional to, together."""


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes the inputs of some layers: a norm, or outputs of a linear layer."""

    by: ir.Node | Linear
    features: npt.NDArray[np.intp]
    """The output [K] of ``by`` that each input is in proportion to."""
    turn: int = 0
    """Size of groups that may also be turned; 0 where each feature must stay by itself."""


def maker_of(source: ir.Value, readers: Sequence[Linear], linears: Collection[Linear]) -> Maker | None:
    """What can change ``source`` with no effect on anything but its readers; None if nothing can."""
    if {use.node for use in source.uses()} != {linear.nodes[0] for linear in readers}:
        return None
    value = _before_views(source)
    node = value.producer()
    if node is None or (value is not source and not _is_used_once(value)):
        return None
    width = readers[0].shape[1]
    makers = {linear.result: linear for linear in linears}
    if node.op_type in NORM_WEIGHTS:
        return _norm(node, value, width)
    if node.op_type == "GroupQueryAttention" and value is node.outputs[0]:
        return _values(node, width, makers)
    if node.op_type == "Mul":
        found = (_outputs(each, width, makers) for each in node.inputs)
        return next((maker for maker in found if maker is not None), None)
    return None


def _norm(node: ir.Node, value: ir.Value, width: int) -> Maker | None:
    weights = [optional(node, index) for index in NORM_WEIGHTS[node.op_type]]
    fitting = all(
        is_weight(each, rank=1) and shape_of(each) == (width,) for each in weights if each is not None
    )
    return Maker(node, np.arange(width)) if value is node.outputs[0] and weights[0] and fitting else None


def _values(node: ir.Node, width: int, makers: Mapping[ir.Value, Linear]) -> Maker | None:
    """The layer that makes attention's values; each head of them is read by several heads of queries."""
    heads, shared = (node.attributes.get_int(name, 0) for name in ("num_heads", "kv_num_heads"))
    size = width // heads
    packed = node.inputs[1] is None
    made = _outputs(node.inputs[0 if packed else 2], None if packed else shared * size, makers)
    if made is None:
        return None
    reads = np.arange(width)
    reads = reads // size // (heads // shared) * size + reads % size
    return Maker(made.by, made.features[len(made.features) - shared * size :][reads], turn_size(size))


def _outputs(value: ir.Value | None, width: int | None, makers: Mapping[ir.Value, Linear]) -> Maker | None:
    """The outputs of a linear layer that ``value`` is, if nothing else reads them."""
    if value is None or not _is_used_once(value):
        return None
    split = producer(value, "Split")
    whole = value if split is None else required(split.inputs[0])
    linear = makers.get(whole)
    if linear is None or not _is_used_once(whole):
        return None
    start, size = 0, linear.shape[0]
    if split is not None:
        sizes = _sizes(split, size)
        index = list(split.outputs).index(value)
        start, size = sum(sizes[:index]), sizes[index]
    return Maker(linear, np.arange(start, start + size)) if width in (None, size) else None


def _sizes(split: ir.Node, width: int) -> list[int]:
    """Of each output: as said, else all alike but the last, which may be smaller."""
    told = optional(split, 1)
    if told is not None:
        return [int(size) for size in tensor_of(told).numpy()]
    size = -(-width // len(split.outputs))
    return [min(size, width - start) for start in range(0, width, size)]


def _before_views(value: ir.Value) -> ir.Value:
    """What ``value`` was before it was laid out for its product, or before only its last tokens were taken."""
    while (node := value.producer()) is not None and (
        node.op_type in ("Reshape", "Flatten") or _takes_tokens(node)
    ):
        before = required(node.inputs[0])
        if not _is_used_once(before):
            break
        value = before
    return value


def _takes_tokens(node: ir.Node) -> bool:
    """Whether a node leaves out tokens, as before an output head, and no features."""
    axes = optional(node, 3) if node.op_type == "Slice" else None
    return axes is not None and axes.const_value is not None and axes.const_value.numpy().tolist() == [1]


def _is_used_once(value: ir.Value) -> bool:
    return len(list(value.uses())) == 1 and not value.is_graph_output()
