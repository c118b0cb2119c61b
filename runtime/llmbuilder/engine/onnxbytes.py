"""Write the few bytes of an ONNX model whose nodes have plain inputs and outputs: `onnx` is no part of the runtime.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; only what our helper graphs need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_IR_VERSION = 10
_OPSETS = {"": 20, "com.microsoft": 1}
_INT = 2  # AttributeProto.INT
TYPES: Mapping[np.dtype[np.generic], int] = {
    np.dtype(name): number
    for name, number in (("float32", 1), ("uint8", 2), ("int8", 3), ("int64", 7), ("float16", 10))
}
"""TensorProto.DataType of what caches and logits are made of."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator; attributes are whole numbers."""

    op_type: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int] = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output; every dimension has a name, so that it may have any size."""

    name: str
    dtype: npt.DTypeLike
    dimensions: Sequence[str]


def write_model(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, npt.NDArray[np.generic]] | None = None,
) -> bytes:
    """A model of these nodes, in an order in which they can be computed."""
    graph = b"".join(
        [
            *(_message(1, _node(node)) for node in nodes),
            _text(2, "helper"),
            *(_message(5, _tensor(name, array)) for name, array in (constants or {}).items()),
            *(_message(11, _value(value)) for value in inputs),
            *(_message(12, _value(value)) for value in outputs),
        ]
    )
    domains = dict.fromkeys(["", *(node.domain for node in nodes)])
    opsets = (_message(8, _text(1, domain) + _number(2, _OPSETS[domain])) for domain in domains)
    return _number(1, _IR_VERSION) + _message(7, graph) + b"".join(opsets)


def _node(node: Node) -> bytes:
    attributes = (
        _message(5, _text(1, name) + _number(3, number) + _number(20, _INT))
        for name, number in node.attributes.items()
    )
    return b"".join(
        [
            *(_text(1, name) for name in node.inputs),
            *(_text(2, name) for name in node.outputs),
            _text(4, node.op_type),
            *attributes,
            *([_text(7, node.domain)] if node.domain else []),
        ]
    )


def _value(value: Value) -> bytes:
    shape = b"".join(_message(1, _text(2, name)) for name in value.dimensions)
    tensor = _number(1, TYPES[np.dtype(value.dtype)]) + _message(2, shape)
    return _text(1, value.name) + _message(2, _message(1, tensor))


def _tensor(name: str, array: npt.NDArray[np.generic]) -> bytes:
    dimensions = b"".join(_number(1, size) for size in array.shape)
    return dimensions + _number(2, TYPES[array.dtype]) + _text(8, name) + _message(9, array.tobytes())


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode("ascii"))


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value % (1 << 64))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
