"""The shapes of operators that only move, cut or repeat elements; see `llmbuilder.bundle.shapes`.

As there, a function takes an operator's call and gives its results, or raises a `ShapeError`.
"""

import math

from llmbuilder.bundle.shapes import (
    MOST_DIMENSIONS,
    Call,
    Shape,
    ShapeError,
    Value,
    axis_of,
    broadcast_shapes,
    value,
)


def shape_of(call: Call) -> list[Value]:
    """The shape itself, or a range of its dimensions."""
    whole = call.shape()
    start, end = call.attributes.get("start", 0), call.attributes.get("end", len(whole))
    part = whole[start:end]
    return [value((len(part),), part)]


def gather(call: Call) -> list[Value]:
    """Rows looked up along an axis."""
    data, ids = call.input(0), call.input(1)
    axis = call.axis("axis", 0, len(data.shape))
    shape = (*data.shape[:axis], *ids.shape, *data.shape[axis + 1 :])
    if data.numbers is None or ids.numbers is None or len(data.shape) != 1:
        return [value(shape)]
    if any(not -len(data.numbers) <= index < len(data.numbers) for index in ids.numbers):
        raise ShapeError("it looks up what is not there")
    return [value(shape, [data.numbers[index] for index in ids.numbers])]


def gather_nd(call: Call) -> list[Value]:
    """Parts looked up by several dimensions at once: the last one of the ids names them."""
    data, ids = call.shape(0), call.shape(1)
    batch = call.attributes.get("batch_dims", 0)
    if not ids or not 0 <= batch < min(len(data), len(ids)) or not 1 <= ids[-1] <= len(data) - batch:
        raise ShapeError(f"ids of shape {list(ids)} look up nothing in {list(data)}")
    return [value((*ids[:-1], *data[batch + ids[-1] :]))]


def gather_elements(call: Call) -> list[Value]:
    """Single elements looked up along an axis, one for each id."""
    _check_ids(call, 1)
    return [value(call.shape(1))]


def scatter_elements(call: Call) -> list[Value]:
    """The first input with single elements of the third put in their places along an axis."""
    _check_ids(call, 1)
    if call.shape(2) != call.shape(1):
        raise ShapeError(f"{list(call.shape(2))} cannot be put in places of shape {list(call.shape(1))}")
    return [value(call.shape())]


def top_k(call: Call) -> list[Value]:
    """The largest along an axis, and where they are."""
    shape = list(call.shape())
    (count,) = call.numbers(1) if call.input(1).size == 1 else (-1,)
    axis = call.axis("axis", -1, len(shape))
    if not 0 <= count <= shape[axis]:
        raise ShapeError(f"there are no {count} largest of {shape[axis]}")
    shape[axis] = count
    return [value(shape)] * 2


def concat(call: Call) -> list[Value]:
    """Inputs side by side."""
    parts = [call.input(index) for index in range(len(call.inputs))]
    axis = call.axis("axis", 0, len(call.shape()))
    others = {(len(part.shape), _without(part.shape, axis)) for part in parts}
    if len(others) > 1:
        raise ShapeError(f"inputs of shapes {[list(part.shape) for part in parts[:4]]} lie side by side")
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    known = [part.numbers for part in parts if part.numbers is not None]
    whole = len(known) == len(parts) and len(shape) == 1
    return [value(shape, [number for numbers in known for number in numbers] if whole else None)]


def split(call: Call) -> list[Value]:
    """One input cut along an axis, into the given sizes or equal ones."""
    shape = call.shape()
    axis = call.axis("axis", 0, len(shape))
    if call.optional(1) is not None:
        sizes = list(call.numbers(1))
    else:
        each = -(-shape[axis] // max(call.outputs, 1))
        sizes = [min(each, shape[axis] - start) for start in range(0, each * call.outputs, max(each, 1))]
    if sum(sizes) != shape[axis] or len(sizes) != call.outputs:
        raise ShapeError(f"{shape[axis]} cannot be split into {sizes[:8]}")
    return [value((*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def slice_(call: Call) -> list[Value]:
    """A part of each of some dimensions; all of a dimension whose ends are not known."""
    data = call.input(0)
    shape, numbers = list(data.shape), data.numbers
    starts, ends = call.input(1), call.input(2)
    axes = call.numbers(3) if call.optional(3) is not None else tuple(range(starts.size))
    steps = call.numbers(4) if call.optional(4) is not None else (1,) * len(axes)
    if any(step == 0 for step in steps):
        raise ShapeError("it slices in steps of 0")
    if starts.numbers is None or ends.numbers is None:
        return [value(shape)]
    if not len(axes) == len(steps) == len(starts.numbers) == len(ends.numbers):
        raise ShapeError("it slices other dimensions than it names")
    for axis, start, end, step in zip(axes, starts.numbers, ends.numbers, steps, strict=True):
        kept = range(shape[axis_of(axis, len(shape))])[slice(start, end, step)]
        shape[axis_of(axis, len(shape))] = len(kept)
        numbers = None if numbers is None or len(shape) != 1 else tuple(numbers[index] for index in kept)
    return [value(shape, numbers)]


def unsqueeze(call: Call) -> list[Value]:
    """New dimensions of 1."""
    axes = call.numbers(1)
    rank = len(call.shape()) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise ShapeError("it adds a dimension twice")
    old = iter(call.shape())
    return [value([1 if axis in new else next(old) for axis in range(rank)], call.input(0).numbers)]


def squeeze(call: Call) -> list[Value]:
    """Without dimensions of 1."""
    shape = call.shape()
    if call.optional(1) is None:
        gone = {axis for axis, size in enumerate(shape) if size == 1}
    else:
        gone = {axis_of(axis, len(shape)) for axis in call.numbers(1)}
    if any(shape[axis] != 1 for axis in gone):
        raise ShapeError(f"it drops dimensions of {list(shape)} that are not 1")
    return [value([s for axis, s in enumerate(shape) if axis not in gone], call.input(0).numbers)]


def reshape(call: Call) -> list[Value]:
    """The same elements in another shape; 0 keeps a dimension, -1 takes what is left."""
    data, wanted = call.input(0), list(call.numbers(1))
    if not call.attributes.get("allowzero", 0):
        wanted = [_kept(data.shape, axis) if size == 0 else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size != -1)
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = data.size // known
    if any(size < 0 for size in wanted) or math.prod(wanted) != data.size:
        raise ShapeError(f"{list(data.shape)} cannot be reshaped to {wanted[:MOST_DIMENSIONS]}")
    return [value(wanted, data.numbers)]


def transpose(call: Call) -> list[Value]:
    """Dimensions in another order. A weight stays one: it is laid out anew once, while the graph loads."""
    data = call.input(0)
    shape = data.shape
    order = call.attributes.get("perm", list(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ShapeError(f"{len(shape)} dimensions cannot be ordered as {order[:MOST_DIMENSIONS]}")
    return [Value(tuple(shape[axis] for axis in order), is_weight=data.is_weight)]


def expand(call: Call) -> list[Value]:
    """Repeated to a shape."""
    return [value(broadcast_shapes([call.shape(), call.numbers(1)]))]


def constant_of_shape(call: Call) -> list[Value]:
    """Zeros of a shape."""
    return [value(call.numbers(0))]


def tile(call: Call) -> list[Value]:
    """Repeated along each dimension."""
    shape, times = call.shape(), call.numbers(1)
    if len(times) != len(shape):
        raise ShapeError(f"{len(shape)} dimensions cannot be repeated {len(times)} times")
    return [value([size * count for size, count in zip(shape, times, strict=True)])]


def range_(call: Call) -> list[Value]:
    """Numbers from a first one up to a limit."""
    numbers = [call.numbers(index) for index in (0, 1, 2)]
    if any(len(each) != 1 for each in numbers) or numbers[2] == (0,):
        raise ShapeError("its limits are no single numbers")
    (start,), (limit,), (step,) = numbers
    return [value((len(range(start, limit, step)),))]


def pad(call: Call) -> list[Value]:
    """With more at the ends of each dimension, or of those that are named."""
    shape = list(call.shape())
    axes = call.numbers(3) if call.optional(3) is not None else tuple(range(len(shape)))
    ends = call.numbers(1)
    if len(ends) != 2 * len(axes):
        raise ShapeError("it pads other dimensions than it names")
    for axis, before, after in zip(axes, ends[: len(axes)], ends[len(axes) :], strict=True):
        shape[axis_of(axis, len(shape))] += before + after
    return [value(shape)]


def _check_ids(call: Call, index: int) -> None:
    """Refuse ids of single elements in places that the first input does not have."""
    data, ids = call.shape(), call.shape(index)
    axis = call.axis("axis", 0, len(data))
    if len(ids) != len(data) or any(
        id_size > size for at, (id_size, size) in enumerate(zip(ids, data, strict=True)) if at != axis
    ):
        raise ShapeError(f"ids of shape {list(ids)} name no elements of {list(data)}")


def _kept(shape: Shape, axis: int) -> int:
    if axis >= len(shape):
        raise ShapeError(f"there is no dimension {axis} of {len(shape)}")
    return shape[axis]


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])
