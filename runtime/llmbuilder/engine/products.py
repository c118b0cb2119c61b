"""Compare ONNX Runtime's products of whole numbers on this machine with NumPy's, which are exact.

On x86 without VNNI, ONNX Runtime adds products of unsigned by signed 8-bit numbers in 16 bits, which overflow. Bundles
hold unsigned ones on both sides, which it adds in 32 bits. Whether it does is seen with the largest numbers there are.
"""

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import FloatArray
from llmbuilder.engine.session import session_options

ByteArray = npt.NDArray[np.uint8]

ROWS, INPUTS, OUTPUTS = 5, 67, 35
"""Sizes that are no multiples of what a processor multiplies at once."""
_MIDDLE = 128
_FLOAT, _UINT8 = 1, 2


def products_differ() -> int:
    """How many of `ROWS` * `OUTPUTS` products are not the exact ones; 0 on a machine that is right.

    Raises:
        ImportError: ONNX Runtime is missing.
    """
    random = np.random.default_rng(0)
    largest = np.array([1, 255], np.uint8)
    codes = random.choice(largest, (ROWS, INPUTS), p=[0.1, 0.9])
    weight = random.choice(largest, (INPUTS, OUTPUTS), p=[0.1, 0.9])
    exact = (codes.astype(np.int64) - _MIDDLE) @ (weight.astype(np.int64) - _MIDDLE)
    return int((_multiplied(codes, weight) != exact).sum())


def _multiplied(codes: ByteArray, weight: ByteArray) -> FloatArray:
    import onnxruntime as ort

    session = ort.InferenceSession(_graph(weight), session_options(ort), providers=["CPUExecutionProvider"])
    result: FloatArray = session.run(None, {"x": codes})[0]
    return result


def _graph(weight: ByteArray) -> bytes:
    """A model of one node, as in a bundle, with a stored weight; fields are numbered as in onnx.proto3."""
    inputs = ("x", "w", "one", "ones", "middle", "middle")
    node = _part(
        1,
        *(_part(1, name.encode()) for name in inputs),
        _part(2, b"y"),
        _part(4, b"MatMulIntegerToFloat"),
        _part(7, b"com.microsoft"),
    )
    weights = [
        _tensor("w", weight),
        _tensor("one", np.array(1, np.float32)),
        _tensor("ones", np.ones(weight.shape[1], np.float32)),
        _tensor("middle", np.array(_MIDDLE, np.uint8)),
    ]
    ends = [_part(11, *_value("x", _UINT8)), _part(12, *_value("y", _FLOAT))]
    graph = _part(7, node, _part(2, b"product"), *weights, *ends)
    opsets = _part(8, _number(2, 20)), _part(8, _part(1, b"com.microsoft"), _number(2, 1))
    return b"".join((_number(1, 8), *opsets, graph))


def _tensor(name: str, array: npt.NDArray[np.generic]) -> bytes:
    kind = _number(2, _UINT8 if array.dtype == np.uint8 else _FLOAT)
    dims = (_number(1, size) for size in array.shape)
    return _part(5, *dims, kind, _part(8, name.encode()), _part(9, array.tobytes()))


def _value(name: str, kind: int) -> tuple[bytes, bytes]:
    """Name and type of a matrix of any size."""
    shape = _part(2, _part(1, _part(2, b"rows")), _part(1, _part(2, b"columns")))
    return _part(1, name.encode()), _part(2, _part(1, _number(1, kind), shape))


def _part(field: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    low = bytes([value & 0x7F])
    return low if value < 0x80 else bytes([low[0] | 0x80]) + _varint(value >> 7)
