"""Quantize weights in blocks of 32, the form of ONNX Runtime's MatMulNBits: w = scale * (code - zero point).

Zero points are whole numbers, because ONNX Runtime computes with other ones 30 times slower. So scale and zero point
are searched together: as in llama.cpp's k-quants (Kawrakow 2023), several ranges are tried, each with the scale that
least squares gives its codes, and errors count by how strongly the weight's input is driven (Lin et al. 2024, AWQ).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import FloatArray
from llmbuilder.errors import ExportError

BLOCK = 32
Bits = Literal[4, 8]
ByteArray = npt.NDArray[np.uint8]

_SHARES = {4: (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05), 8: (1.0,)}
"""Ranges to try, as shares of the range of a block's weights; 8 bits need no clipping."""
_SHIFTS = {4: (-1, 0, 1), 8: (0,)}
"""Zero points to try, relative to the one that centres the range."""
_REFINEMENTS = 3
"""Times to round to the best scale and then fit the scale to the codes; each can only lower the error."""
_SMALLER = {
    8: tuple(sign * size for size in range(7, 0, -1) for sign in (-1, 1)),
    128: (-8, 7, *range(126, 0, -1)),
}
"""Codes, less the middle one, that the largest weight of a block may have if not the largest code; by the middle."""
_CHUNK = 4096
"""Blocks searched at a time; their intermediate results stay in the processor's cache."""
_LEAST_IMPORTANCE = 0.01
"""Added to the importance of every input, as a share of the mean: calibration sees only so much text."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A weight [N, K] in blocks along K; the last block of a row may be padded.

    Attributes:
        codes: [N, blocks, 32 * bits / 8]; with 4 bits the even element is the low half of a byte.
        scales: [N, blocks].
        zero_points: [N, blocks * bits / 8, rounded up], or None for the middle code.
        bits: size of a code.
    """

    codes: ByteArray
    scales: FloatArray
    zero_points: ByteArray | None
    bits: Bits


class Codes(NamedTuple):
    """A weight [N, K] in blocks along K, before its codes are packed."""

    codes: ByteArray
    """[N, blocks, 32]."""
    scales: FloatArray
    """[N, blocks]."""
    zero_points: ByteArray
    """[N, blocks]."""

    def decoded(self) -> FloatArray:
        """The weight that the codes stand for, [N, blocks * 32]."""
        levels = self.codes.astype(np.float32) - self.zero_points[..., None]
        return (levels * self.scales[..., None]).reshape(len(levels), -1)

    def rows(self, rows: slice) -> "Codes":
        """Those of some rows, which share memory with these."""
        return Codes(self.codes[rows], self.scales[rows], self.zero_points[rows])

    def take(self, chosen: npt.NDArray[np.bool_], other: "Codes") -> None:
        """Take the rows of ``other`` where ``chosen`` [N] says so."""
        self.codes[chosen] = other.codes[chosen]
        self.scales[chosen] = other.scales[chosen]
        self.zero_points[chosen] = other.zero_points[chosen]

    def packed(self, bits: Bits) -> Blocks:
        """As they are stored."""
        return Blocks(_pack(self.codes, bits), self.scales, _pack(self.zero_points, bits), bits)


def round_symmetric(weight: FloatArray) -> Blocks:
    """Quantize weight [N, K] to 8 bits without zero points: the largest weight of a block gets code 128 +- 127."""
    codes = np.empty((len(weight), _count(weight), BLOCK), np.uint8)
    scales = np.empty(codes.shape[:2], np.float32)
    for rows, blocks in _chunks(weight):
        largest = np.abs(blocks).max(-1)
        scales[rows] = np.where(largest > 0, largest / 127, 1)
        codes[rows] = np.rint(blocks / scales[rows, :, None]) + 128
    return Blocks(codes, scales, None, 8)


def recover(weight: FloatArray, bits: Bits) -> Blocks | None:
    """Blocks that are equal to weight [N, K], bit for bit: those of ggml's Q4_0 or Q8_0 that it was stored in.

    The scale is the largest weight over its code, which the writer made as large as it can be; other codes are tried
    where that fails.

    Returns:
        None if there are none with the middle code as zero point. Otherwise they have that zero point, written down.
    """
    if weight.shape[1] % BLOCK:
        return None
    middle = 1 << (bits - 1)
    codes = np.empty((len(weight), _count(weight), BLOCK), np.uint8)
    scales = np.empty(codes.shape[:2], np.float32)
    for rows, blocks in _chunks(weight):
        found = _recover(blocks.reshape(-1, BLOCK), middle)
        if found is None:
            return None
        codes[rows], scales[rows] = (
            found[0].reshape(blocks.shape) + middle,
            found[1].reshape(blocks.shape[:2]),
        )
    return Blocks(_pack(codes, bits), scales, _pack(np.full(scales.shape, middle, np.uint8), bits), bits)


def _recover(blocks: FloatArray, middle: int) -> tuple[FloatArray, FloatArray] | None:
    """Levels [N, 32] and scales [N] whose products are the blocks [N, 32] exactly."""
    extremes = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[:, None], -1)[:, 0]
    levels, scales = np.zeros_like(blocks), np.ones_like(extremes)
    left = np.flatnonzero(extremes)
    for size in (-middle, middle - 1, *_SMALLER[middle]):
        if not left.size:
            break
        steps = extremes[left] / np.float32(size)
        trial = np.rint(blocks[left] / steps[:, None])
        fits = (trial * steps[:, None] == blocks[left]).all(-1)
        fits &= (trial.min(-1) >= -middle) & (trial.max(-1) < middle)
        levels[left[fits]], scales[left[fits]] = trial[fits], steps[fits]
        left = left[~fits]
    return None if left.size else (levels, scales)


def search(weight: FloatArray, bits: Bits, importance: FloatArray | None = None) -> Blocks:
    """Quantize weight [N, K] with the scales and zero points of least weighted squared error.

    Args:
        weight: any strides; read in chunks, never copied as a whole.
        bits: size of a code.
        importance: how much the squared error at each input counts [K], e.g. its mean square; None: equally.

    Raises:
        ExportError: the weight holds infinities or NaN.
    """
    return search_codes(weight, bits, importance).packed(bits)


def search_codes(weight: FloatArray, bits: Bits, importance: FloatArray | None = None) -> Codes:
    """`search`, with codes that are not packed yet."""
    count = _count(weight)
    weights = _importance(importance, weight.shape[1], count)
    found = no_codes(len(weight), count)
    for rows, blocks in _chunks(weight):
        found.codes[rows], found.scales[rows], found.zero_points[rows] = search_blocks(blocks, weights, bits)
    return found


def no_codes(rows: int, count: int) -> Codes:
    """Room for the codes of so many rows of ``count`` blocks."""
    shape = rows, count
    return Codes(np.empty((*shape, BLOCK), np.uint8), np.empty(shape, np.float32), np.empty(shape, np.uint8))


def search_blocks(
    blocks: FloatArray, importance: FloatArray, bits: Bits
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Codes [N, blocks, 32], scales and zero points [N, blocks] for blocks [N, blocks, 32].

    Args:
        blocks: finite weights.
        importance: how much the squared error of each counts [blocks, 32], never zero in all of a block.
        bits: size of a code.
    """
    top = (1 << bits) - 1
    low, high = np.minimum(blocks.min(-1), 0), np.maximum(blocks.max(-1), 0)
    centre, span = (low + high) / 2, np.where(high > low, high - low, 1)
    weighted = blocks * importance
    best = np.full(span.shape, -1, np.float32)
    step, zero = np.ones_like(span), np.zeros_like(span)
    for share in _SHARES[bits]:
        trial_step = span * np.float32(share / top)
        middle = np.rint(np.float32(top / 2) - centre / trial_step)
        for shift in _SHIFTS[bits]:
            trial_zero = np.clip(middle + shift, 0, top)
            along, energy = _projection(_levels(blocks, trial_step, trial_zero, top), weighted, importance)
            explained = along * along / energy
            better = explained > best
            best = np.where(better, explained, best)
            step, zero = np.where(better, trial_step, step), np.where(better, trial_zero, zero)
    for _ in range(_REFINEMENTS):
        levels = _levels(blocks, step, zero, top)
        along, energy = _projection(levels, weighted, importance)
        step = np.where(along > 0, along / energy, step)
    return levels + zero[..., None], step, zero


def _levels(blocks: FloatArray, step: FloatArray, zero: FloatArray, top: int) -> FloatArray:
    """Codes less zero points, for blocks [N, blocks, 32] and a step and zero point for each."""
    levels = blocks / step[..., None]
    np.rint(levels, out=levels)
    return np.clip(levels, -zero[..., None], (top - zero)[..., None], out=levels)


def _projection(
    levels: FloatArray, weighted: FloatArray, importance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted products of levels with the weights and with themselves, for each block.

    Their ratio is the scale of least squares, and ``along ** 2 / energy`` what the levels then explain.
    """
    along = np.einsum("nbk,nbk->nb", levels, weighted)
    energy = np.einsum("nbk,nbk,bk->nb", levels, levels, importance)
    return along, np.maximum(energy, np.finfo(np.float32).tiny)


def _importance(importance: FloatArray | None, columns: int, count: int) -> FloatArray:
    """Importance as [blocks, 32], never zero but in the padding."""
    if importance is None or not importance.any():
        importance = np.ones(columns, np.float32)
    importance = importance / importance.mean() + np.float32(_LEAST_IMPORTANCE)
    return np.pad(importance, (0, count * BLOCK - columns)).reshape(count, BLOCK)


def _count(weight: FloatArray) -> int:
    blocks: int = -(-weight.shape[1] // BLOCK)
    return blocks


def _chunks(weight: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Yield rows and their weights as [rows, blocks, 32], padded with zeros."""
    count = _count(weight)
    size = max(1, _CHUNK // count)
    padding = ((0, 0), (0, count * BLOCK - weight.shape[1]))
    for start in range(0, len(weight), size):
        rows = slice(start, start + size)
        chunk = np.ascontiguousarray(np.pad(weight[rows], padding), np.float32)
        refuse_infinite(chunk)
        yield rows, chunk.reshape(-1, count, BLOCK)


def refuse_infinite(weight: FloatArray) -> None:
    """Raise `ExportError` if a weight is not finite."""
    if not np.isfinite(weight).all():
        raise ExportError(
            "A weight holds infinities or NaN, so it cannot be quantized, as after a training that diverged. "
            "Export an earlier checkpoint, or without quantization."
        )


def _pack(codes: ByteArray, bits: Bits) -> ByteArray:
    """Put two 4-bit codes in a byte along the last axis, the first one low."""
    if bits == 8:
        return codes
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
    packed: ByteArray = codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)
    return packed
