"""The shape of what each operator of a bundle computes, from the shapes of its inputs.

Shapes are plain numbers: a graph is walked with sizes as they occur when a model runs. Of the small integers that
shapes are computed with, the values are known too, as far as they come from constants and other shapes; those that come
from a prompt are not. A dimension cut by an unknown number counts as whole.

A function takes an operator's call and gives its results, or raises a `ShapeError` that says why there are none.

The operators are those of https://onnx.ai/onnx/operators/ and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

from llmbuilder.bundle.protobuf import GraphError

Shape: TypeAlias = tuple[int, ...]

MOST_DIMENSIONS = 8
_MOST_NUMBERS = 64
_LARGEST_NUMBER = 1 << 40
_CODE_BITS = (2, 4, 8)
_SINKS = 11
"""Of attention: the input with a score for each head that stands for no token."""


class ShapeError(GraphError):
    """Sizes that do not add up."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a node reads or makes: its shape, its numbers if they are known, and whether it is a stored weight."""

    shape: Shape
    numbers: tuple[int, ...] | None = None
    is_weight: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Call:
    """One node at work."""

    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]
    outputs: int
    """How many outputs it has, those without a name included."""

    def input(self, index: int) -> Value:
        """An input that must be there."""
        value = self.optional(index)
        if value is None:
            raise ShapeError(f"input {index} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def shape(self, index: int = 0) -> Shape:
        """Shape of an input that must be there."""
        return self.input(index).shape

    def numbers(self, index: int) -> tuple[int, ...]:
        """Numbers of an input that must be there, and known."""
        numbers = self.input(index).numbers
        if numbers is None:
            raise ShapeError(f"input {index} is no constant and no shape")
        return numbers

    def axis(self, name: str, default: int, rank: int) -> int:
        """An attribute that names a dimension, counted from 0."""
        return axis_of(self.attributes.get(name, default), rank)


Rule: TypeAlias = Callable[[Call], list[Value]]
"""The outputs of a node; those after the last one are never read."""
Cost: TypeAlias = Callable[[Call, Value], tuple[Value, int]]
"""The weight that a node multiplies by, and how many products of numbers that takes; from its call and its result."""


def value(shape: Sequence[int], numbers: Sequence[int] | None = None) -> Value:
    """A value within bounds; numbers that are many or large are forgotten."""
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise ShapeError(f"the shape would be {list(shape[:MOST_DIMENSIONS])}")
    if numbers is not None and (len(numbers) > _MOST_NUMBERS or math.prod(shape) != len(numbers)):
        numbers = None
    if numbers is not None and any(abs(number) > _LARGEST_NUMBER for number in numbers):
        numbers = None
    return Value(tuple(shape), None if numbers is None else tuple(numbers))


def like_first(call: Call) -> list[Value]:
    """As many outputs as there are, none larger than the first input."""
    return [value(call.shape())] * call.outputs


def branches(_: Call) -> list[Value]:
    """If: what its graphs compute, which `llmbuilder.bundle.graphsizes` follows."""
    return []


def cast(call: Call) -> list[Value]:
    """The same numbers as another type."""
    return [value(call.shape(), call.input(0).numbers)]


def broadcast(call: Call) -> list[Value]:
    """Elementwise; dimensions of 1 are repeated."""
    return [value(broadcast_shapes([call.shape(index) for index in range(len(call.inputs))]))]


def arithmetic(compute: Callable[[int, int], int]) -> Rule:
    """Elementwise, for numbers that shapes are made of."""

    def rule(call: Call) -> list[Value]:
        shape = broadcast_shapes([call.shape(0), call.shape(1)])
        numbers = [call.input(index).numbers for index in (0, 1)]
        if numbers[0] is None or numbers[1] is None or len(shape) > 1:
            return [value(shape)]
        size = math.prod(shape)
        left, right = (each * size if len(each) == 1 else each for each in numbers if each is not None)
        return [value(shape, [compute(a, b) for a, b in zip(left, right, strict=True)])]

    return rule


def reduce(call: Call) -> list[Value]:
    """Some dimensions, or all, summed up to 1."""
    shape = call.shape()
    axes = call.numbers(1) if call.optional(1) is not None else ()
    if not axes and call.attributes.get("noop_with_empty_axes", 0):
        return [value(shape)]
    gone = {axis_of(axis, len(shape)) for axis in axes} or set(range(len(shape)))
    if call.attributes.get("keepdims", 1):
        return [value([1 if axis in gone else size for axis, size in enumerate(shape)])]
    return [value([size for axis, size in enumerate(shape) if axis not in gone])]


def matmul(call: Call) -> list[Value]:
    """[..., M, K] times [..., K, N]; ``transA`` and ``transB`` turn the last two dimensions around."""
    left, right = (_turned(call, index) for index in (0, 1))
    if left[-1] != right[-2]:
        raise ShapeError(f"{list(left)} cannot be multiplied by {list(right)}")
    return [value((*broadcast_shapes([left[:-2], right[:-2]]), left[-2], right[-1]))]


def cost(call: Call, product: Value) -> tuple[Value, int]:
    """Of a product with the second input."""
    return call.input(1), product.size * call.shape()[-1]


def matmul_blocks(call: Call) -> list[Value]:
    """MatMulNBits: [..., K] times a weight of N rows, stored in blocks of codes."""
    inputs, outputs = call.attributes.get("K", 0), call.attributes.get("N", 0)
    bits, block = call.attributes.get("bits", 4), call.attributes.get("block_size", 0)
    codes = call.shape(1)
    if inputs < 1 or outputs < 1 or block < 1 or call.shape()[-1:] != (inputs,):
        raise ShapeError(f"{list(call.shape())} cannot be multiplied by {inputs} x {outputs}")
    if codes != (outputs, -(-inputs // block), block * bits // 8):
        raise ShapeError(f"codes of shape {list(codes)} are no {inputs} x {outputs} weight")
    return [value((*call.shape()[:-1], outputs))]


def gather_blocks(call: Call) -> list[Value]:
    """GatherBlockQuantized: rows looked up in a table of codes, 8 / ``bits`` of them to a byte."""
    table = call.shape()
    axis = call.axis("gather_axis", 0, len(table))
    bits = call.attributes.get("bits", 4)
    shape = (*table[:axis], *call.shape(1), *table[axis + 1 :])
    if bits not in _CODE_BITS or not shape:
        raise ShapeError(f"codes of {bits} bits and shape {list(table)} cannot be looked up")
    return [value((*shape[:-1], shape[-1] * (8 // bits)))]


def attention(call: Call) -> list[Value]:
    """GroupQueryAttention: what is attended to for each query, and the cache."""
    query, heads, shared = call.shape(), *(call.attributes.get(n, 0) for n in ("num_heads", "kv_num_heads"))
    cache = [call.shape(index) for index in (3, 4)]
    if len(query) != 3 or heads < 1 or shared < 1 or any(len(past) != 4 for past in cache):
        raise ShapeError("attention has no heads, queries or cache")
    sinks = call.optional(_SINKS)
    if sinks is not None and sinks.shape != (heads,):
        raise ShapeError(f"attention of {heads} heads has sinks of shape {list(sinks.shape)}")
    width = query[2] if call.optional(1) is not None else query[2] * heads // (heads + 2 * shared)
    return [value((query[0], query[1], width)), *(value(past) for past in cache)]


def broadcast_shapes(shapes: Sequence[Sequence[int]]) -> Shape:
    """The common shape of several; as in NumPy, from the last dimension on."""
    columns = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    sizes = [{size for size in column if size != 1} for column in columns]
    if any(len(each) > 1 for each in sizes):
        raise ShapeError(f"shapes {[list(shape[:MOST_DIMENSIONS]) for shape in shapes]} differ")
    return tuple(each.pop() if each else 1 for each in reversed(sizes))


def axis_of(axis: int, rank: int) -> int:
    """A dimension counted from 0, where -1 is the last."""
    if not -rank <= axis < rank:
        raise ShapeError(f"there is no dimension {axis} of {rank}")
    return axis % rank


def _turned(call: Call, index: int) -> Shape:
    shape = call.shape(index)
    if len(shape) < 2:
        raise ShapeError(f"{list(shape)} is no matrix")
    turn = call.attributes.get(("transA", "transB")[index], 0)
    return (*shape[:-2], shape[-1], shape[-2]) if turn else shape
