"""Compare ONNX Runtime's products of whole numbers on this machine with NumPy's, which are exact.

On x86 without VNNI, ONNX Runtime adds products of unsigned by signed 8-bit numbers in 16 bits, which overflow. Bundles
hold unsigned ones on both sides, which it adds in 32 bits. Whether it does is seen with the largest numbers there are.
"""

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import FloatArray
from llmbuilder.engine.onnxbytes import Node, Value, write_model
from llmbuilder.engine.session import session_options

ByteArray = npt.NDArray[np.uint8]

ROWS, INPUTS, OUTPUTS = 5, 67, 35
"""Sizes that are no multiples of what a processor multiplies at once."""
_MIDDLE = 128


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
    """A model of one node, as in a bundle, with a stored weight."""
    inputs = ["x", "w", "one", "ones", "middle", "middle"]
    return write_model(
        [Node("MatMulIntegerToFloat", inputs, ["y"], domain="com.microsoft")],
        [Value("x", np.uint8, ["rows", "inputs"])],
        [Value("y", np.float32, ["rows", "outputs"])],
        {
            "w": weight,
            "one": np.array(1, np.float32),
            "ones": np.ones(weight.shape[1], np.float32),
            "middle": np.array(_MIDDLE, np.uint8),
        },
    )
