"""See that ONNX Runtime's products of whole numbers are exact on this machine.

On x86 without VNNI, ONNX Runtime adds products of unsigned by signed 8-bit numbers in 16 bits, which overflow, unless
it is told to make the signed ones unsigned. With VNNI that would cost three fifths of the speed, and ONNX Runtime would
do it there too. So whether it is needed is seen with the largest numbers there are.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import FloatArray
from llmbuilder.engine.onnxbytes import Node, Value, write_model
from llmbuilder.engine.session import session_options, widen_weights

ROWS, INPUTS, OUTPUTS = 5, 67, 35
"""Sizes that are no multiples of what a processor multiplies at once."""
_MIDDLE = 128


@cache
def sums_overflow() -> bool:
    """Whether products of unsigned by signed numbers are wrong here, if nothing is done.

    Raises:
        ImportError: ONNX Runtime is missing.
    """
    return _different(widened=False) > 0


def products_differ() -> int:
    """How many of `ROWS` * `OUTPUTS` products, made as those of bundles are, are not the exact ones.

    Raises:
        ImportError: ONNX Runtime is missing.
    """
    return _different(widened=sums_overflow())


def _different(*, widened: bool) -> int:
    random = np.random.default_rng(0)
    codes = random.choice(np.array([1, 255], np.uint8), (ROWS, INPUTS), p=[0.1, 0.9])
    weight = random.choice(np.array([-127, 127], np.int8), (INPUTS, OUTPUTS), p=[0.1, 0.9])
    exact = (codes.astype(np.int64) - _MIDDLE) @ weight.astype(np.int64)
    return int((_multiplied(codes, weight, widened=widened) != exact).sum())


def _multiplied(codes: npt.NDArray[np.uint8], weight: npt.NDArray[np.int8], *, widened: bool) -> FloatArray:
    import onnxruntime as ort

    options = session_options(ort, 1)
    if widened:
        widen_weights(options)
    session = ort.InferenceSession(_graph(weight), options, providers=["CPUExecutionProvider"])
    result: FloatArray = session.run(None, {"x": codes})[0]
    return result


def _graph(weight: npt.NDArray[np.int8]) -> bytes:
    """A model of one node, as in a bundle, with a stored weight."""
    inputs = ["x", "w", "one", "ones", "middle", "zero"]
    return write_model(
        [Node("MatMulIntegerToFloat", inputs, ["y"], domain="com.microsoft")],
        [Value("x", np.uint8, ["rows", "inputs"])],
        [Value("y", np.float32, ["rows", "outputs"])],
        {
            "w": weight,
            "one": np.array(1, np.float32),
            "ones": np.ones(weight.shape[1], np.float32),
            "middle": np.array(_MIDDLE, np.uint8),
            "zero": np.array(0, np.int8),
        },
    )
