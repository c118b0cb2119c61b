"""The shapes of mixtures of experts; see `llmbuilder.bundle.shapes`.

Each row goes through one expert: two products, of which the first makes gates as well.
"""

import math

from llmbuilder.bundle.shapes import Call, Shape, ShapeError, Value, value

_BLOCK = 32
_KINDS = {"k": 1, "swiglu_fusion": 1, "normalize_routing_weights": 1}


def mixture(call: Call) -> list[Value]:
    """MoE: rows [R, width], choices [R, experts], weights [experts, 2 * inner, width] and [experts, width, inner]."""
    sizes = _sizes(call, call.shape(2), call.shape(4))
    _check_biases(call, sizes, (3, 5))
    return _results(call, sizes)


def mixture_of_blocks(call: Call) -> list[Value]:
    """QMoE: as MoE, with weights in blocks of codes, their scales and zero points."""
    bits, block = call.attributes.get("expert_weight_bits", 4), call.attributes.get("block_size", 0)
    if bits not in (4, 8) or block != _BLOCK:
        raise ShapeError(f"experts have codes of {bits} bits in blocks of {block}")
    first, second = (
        (*shape[:-1], shape[-1] * 8 // bits) for shape in (call.shape(2) or (0,), call.shape(5) or (0,))
    )
    sizes = _sizes(call, first, second)
    for weight, scales, zeros in ((first, 3, 11), (second, 6, 12)):
        blocks = weight[2] // block
        if weight[2] % block or call.shape(scales) != (*weight[:2], blocks):
            raise ShapeError(f"scales of shape {list(call.shape(scales))} are not those of {list(weight)}")
        if call.shape(zeros) != (*weight[:2], -(-blocks * bits // 8)):
            raise ShapeError(
                f"zero points of shape {list(call.shape(zeros))} are not those of {list(weight)}"
            )
    _check_biases(call, sizes, (4, 7))
    if any(call.optional(index) is not None for index in (8, 9, 10)) or len(call.inputs) > 13:
        raise ShapeError("experts have inputs that no bundle gives them")
    return _results(call, sizes)


def cost(call: Call, _: Value) -> tuple[Value, int]:
    """The first weight, and how many products of numbers all rows take."""
    weight = call.input(2)
    return weight, math.prod(weight.shape[1:]) * 2 * call.shape()[0]


def _sizes(call: Call, first: Shape, second: Shape) -> tuple[int, int, int]:
    """Number of experts, width, and width inside of an expert."""
    if any(call.attributes.get(name, 0) != wanted for name, wanted in _KINDS.items()) or (
        call.attributes.get("activation_type") != b"swiglu"
    ):
        raise ShapeError("experts are chosen or computed in a way that no bundle has")
    rows, choice = call.shape(0), call.shape(1)
    if len(rows) != 2 or len(first) != 3 or len(second) != 3:
        raise ShapeError("a mixture of experts has rows and weights of other dimensions")
    experts, width, inner = second
    if first != (experts, 2 * inner, width) or rows[1] != width or choice != (rows[0], experts):
        raise ShapeError(
            f"{list(rows)} and {list(choice)} do not fit experts of shapes {list(first)} and {list(second)}"
        )
    if 0 in second:
        raise ShapeError("there are no experts")
    return experts, width, inner


def _check_biases(call: Call, sizes: tuple[int, int, int], places: tuple[int, int]) -> None:
    experts, width, inner = sizes
    for place, wanted in zip(places, (2 * inner, width), strict=True):
        bias = call.optional(place)
        if bias is not None and bias.shape != (experts, wanted):
            raise ShapeError(f"a bias of shape {list(bias.shape)} does not fit {experts} experts")


def _results(call: Call, sizes: tuple[int, int, int]) -> list[Value]:
    """One row for each; behind it, unnamed, what an expert needs room for if all rows go there."""
    rows, (_, width, inner) = call.shape()[0], sizes
    return [value((rows, width)), value((rows, 2 * inner))]
