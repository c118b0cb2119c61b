"""What an H200 must reach, in float16."""

from collections.abc import Mapping

TOKENS_PER_SECOND: Mapping[tuple[str, bool], Mapping[int, float]] = {
    ("135M", True): {1: 550, 8: 4_000, 32: 10_500},
    ("135M", False): {1: 800, 8: 5_400, 32: 15_500},
    ("1B", True): {1: 650, 8: 4_400, 32: 10_500, 128: 40_000},
}
"""By (shape, deterministic) and number of rows; greedily, while all rows decode."""
PREFILL_MS = {"135M": 6.0, "1B": 11.0}
"""Of `PROMPT` tokens."""
PROMPT = 1500
HOST_SHARE = 0.10
"""Of a step of one row, outside of ONNX Runtime."""
RATIO = 1.3
"""Ours over transformers, compiled with a static cache."""
KERNELS = 430
"""A step of the prototype's, at 135M."""
