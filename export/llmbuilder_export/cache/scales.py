"""How large a step of the codes of keys and values is, one for each layer's keys and one for its values."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from llmbuilder_export.quantize.calibrate import ROWS, cached

LARGEST = 127
"""The largest code."""


def cache_scales(model: ir.Model, tokens: int, context_length: int) -> Mapping[str, np.float32]:
    """The scale of each tensor of the cache, by its input's name: the largest number of sampled text is its last code.

    Args:
        model: a graph whose cache is float32.
        tokens: length of each sampled sequence, at most the model's window.
        context_length: that window; sequences begin at places all over it, where keys have what positions add to them.
    """
    starts = np.linspace(0, context_length - tokens, ROWS).astype(np.int64)
    content = cached(model, tokens, starts)
    return {name: _scale(float(np.abs(each).max())) for name, each in content.items()}


def _scale(largest: float) -> np.float32:
    return np.float32((largest or 1.0) / LARGEST)
