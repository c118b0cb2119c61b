"""Quantize weights to 4 bits so that each error is made up for by the weights that are rounded after it.

Frantar et al. 2022, GPTQ: inputs are rounded in order, and the error of each, weighted by how it goes together with the
inputs after it, is taken off their weights. Scale and zero point of a block are searched when it is reached.
"""

from collections.abc import Iterator

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder_export.quantize.blocks import (
    BLOCK,
    Blocks,
    Codes,
    no_codes,
    refuse_infinite,
    search_blocks,
    search_codes,
)

_DAMPING = 0.01
"""Added to the mean square of every input, as a share of their mean: what was measured may be singular."""
_ROWS = 1024
"""Outputs rounded at a time."""
_TOP = 15


def search_with_feedback(weight: FloatArray, moments: FloatArray) -> Blocks:
    """Quantize weight [N, K] to 4 bits, each output with no more error than `search` leaves.

    An output's error is that of its products over the text that was measured: ``d @ moments @ d``, where d is what
    rounding changed. Where errors that were passed on make it larger, the codes of `search` are taken.

    Args:
        weight: any strides; read in chunks, never copied as a whole.
        moments: mean products of each two inputs [K, K].

    Raises:
        ExportError: the weight holds infinities or NaN.
    """
    found = search_codes(weight, 4, np.diagonal(moments))
    if moments.any():
        factor = _factor(moments)
        for rows in _slices(len(weight), _ROWS):
            part = np.ascontiguousarray(weight[rows], np.float32)
            refuse_infinite(part)
            trial, best = _round(part, factor), found.rows(rows)
            best.take(_errors(trial, part, moments) < _errors(best, part, moments), trial)
    return found.packed(4)


def _factor(moments: FloatArray) -> FloatArray:
    """The upper Cholesky factor of the inverse, [K, K], with K filled up to whole blocks.

    Row i, over its first number, says what the error of input i asks of those after it; that number's square is the
    inverse of how much of input i none of them can make up for.
    """
    inputs = len(moments)
    damped = np.eye(-(-inputs // BLOCK) * BLOCK)
    damped[:inputs, :inputs] = moments
    damped[np.diag_indices(inputs)] += _DAMPING * np.diagonal(moments).mean(dtype=np.float64)
    factor: FloatArray = np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
    return factor


def _round(weight: FloatArray, factor: FloatArray) -> Codes:
    """Codes of weight [N, K], block after block; inputs lie in rows here, so that each is contiguous."""
    outputs, inputs = weight.shape
    rest = np.zeros((len(factor), outputs), np.float32)
    rest[:inputs] = weight.T
    found = no_codes(outputs, len(factor) // BLOCK)
    importance: FloatArray = (1 / np.square(np.diagonal(factor))).astype(np.float32)
    for index, here in enumerate(_slices(len(factor), BLOCK)):
        weights = _importance(importance[here])
        block = np.ascontiguousarray(rest[here].T)[:, None]
        _, step, zero = search_blocks(block, weights, 4)
        levels, errors = _pass_on(rest[here], factor[here, here], step[:, 0], zero[:, 0])
        rest[here.stop :] -= factor[here, here.stop :].T @ errors
        found.codes[:, index] = (levels + zero[:, 0]).T
        found.scales[:, index], found.zero_points[:, index] = step[:, 0], zero[:, 0]
    return found


def _pass_on(
    block: FloatArray, factor: FloatArray, step: FloatArray, zero: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Levels and errors [32, N] of a block [32, N], which is changed, for steps and zero points [N]."""
    levels, errors = np.empty_like(block), np.empty_like(block)
    for index, weights in enumerate(block):
        levels[index] = np.clip(np.rint(weights / step), -zero, _TOP - zero)
        errors[index] = (weights - levels[index] * step) / factor[index, index]
        block[index + 1 :] -= np.outer(factor[index, index + 1 :], errors[index])
    return levels, errors


def _importance(importance: FloatArray) -> FloatArray:
    """Importance of a block [1, 32] with mean 1; only ratios count."""
    result: FloatArray = (importance / importance.mean())[None]
    return result


def _errors(codes: Codes, weight: FloatArray, moments: FloatArray) -> FloatArray:
    """Mean squared error [N] of the products of each output."""
    change = codes.decoded()[:, : weight.shape[1]] - weight
    errors: FloatArray = np.einsum("nk,nk->n", change @ moments, change)
    return errors


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
