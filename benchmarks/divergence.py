"""How far a quantized model's predictions are from the original's. NumPy only: peers use it in their environments."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Windows = Sequence[Sequence[int]]

WINDOW = 450
"""Most tokens of context."""


def windows(ids: Sequence[int]) -> list[list[int]]:
    """Cut token ids into windows that are predicted each on its own."""
    return [list(ids[start : start + WINDOW]) for start in range(0, len(ids), WINDOW)]


def divergence(
    reference: Iterable[Logits], logits: Callable[[Sequence[int]], Logits], cut: Windows
) -> tuple[float, float]:
    """Compare a model with a reference on the same windows.

    Args:
        reference: logits [length, V] of each window.
        logits: computes the other model's logits [length, V] of a window.
        cut: the token ids of each window.

    Returns:
        Mean KL divergence from the reference in nats, and share of positions with the same likeliest token.
    """
    divergences, agreements = [], []
    for original, ids in zip(reference, cut, strict=True):
        p, q = _log_softmax(original), _log_softmax(logits(ids))
        divergences.append((np.exp(p) * (p - q)).sum(-1))
        agreements.append(p.argmax(-1) == q.argmax(-1))
    return float(np.concatenate(divergences).mean()), float(np.concatenate(agreements).mean())


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
