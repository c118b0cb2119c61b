"""Decide by what was measured whether a bundle computes its model."""

import math
from collections.abc import Mapping

import numpy as np

from llmbuilder.bundle.manifest import Manifest
from llmbuilder.errors import ExportError

_LARGEST_DIFFERENCE = 1e-3
"""Allowed between fp32 logits; of logits above 100, whose last digits are coarser, this share of a hundredth."""
_HALF_DIFFERENCE = 0.05
"""Allowed between logits in half precision, as a share of the largest: it was 0.005 for SmolLM2 and for tiny models of
84 kinds at most, and 0.012 for one."""
_HALF_DIVERGENCE = 1e-3
"""Nats of mean KL divergence allowed in half precision: it was 4e-5 for SmolLM2 and at most 6e-5 for the others."""
_LARGEST_DIVERGENCE = 2.0
"""Nats of mean KL divergence beyond which quantized output no longer resembles the model's."""


def judge(measured: Mapping[str, float], scale: float, manifest: Manifest) -> None:
    """Refuse a bundle whose numbers are further from PyTorch's than its precision explains.

    Args:
        measured: differences of logits and the mean KL divergence, under their names in the manifest.
        scale: the largest of PyTorch's logits.
        manifest: says how precise the bundle is.

    Raises:
        ExportError: it is, or computes what is no number.
    """
    # np.max, unlike max, passes on a NaN.
    largest = float(np.max([value for name, value in measured.items() if name.startswith("max_logit")]))
    divergence = measured["mean_kl_divergence"]
    if manifest.device == "cuda" and not math.isfinite(largest):
        raise ExportError(
            f"{manifest.model.architecture} cannot be exported for cuda: it computes numbers beyond 65504, where half "
            "precision ends. Export it for cpu (--device cpu)."
        )
    if manifest.quantization != "none" or manifest.kv_cache == "int8":
        _judge_quantized(largest, divergence)
    elif manifest.device == "cuda":
        _judge_half(largest, divergence, _HALF_DIFFERENCE * scale, manifest.model.architecture)
    else:
        _judge_exact(largest, allowed_difference(scale), manifest.model.architecture)


def allowed_difference(scale: float) -> float:
    """How far logits in float32 may be apart, of which ``scale`` is the largest."""
    return _LARGEST_DIFFERENCE * max(1.0, scale / 100)


def _judge_exact(largest: float, allowed: float, architecture: str) -> None:
    if not largest <= allowed:
        raise ExportError(
            f"{architecture} cannot be exported: its graph does not compute what the model does; logits differ by "
            f"{largest:.3g}, allowed are {allowed:.3g}. Export a model of another family, and report this one."
        )


def _judge_half(largest: float, divergence: float, allowed: float, architecture: str) -> None:
    if not (largest <= allowed and divergence <= _HALF_DIVERGENCE):
        raise ExportError(
            f"{architecture} cannot be exported for cuda: half precision is too coarse for it. Logits differ by "
            f"{largest:.3g}, allowed are {allowed:.3g}; mean KL divergence is {divergence:.3g} nats, allowed are "
            f"{_HALF_DIVERGENCE}. Export it for cpu (--device cpu)."
        )


def _judge_quantized(largest: float, divergence: float) -> None:
    if not math.isfinite(largest) or not divergence <= _LARGEST_DIVERGENCE:
        raise ExportError(
            f"Quantization destroyed this model: mean KL divergence {divergence:.3g} nats. "
            "Export it with a finer one (--quantize int8 or none), with a cache in float32."
        )
