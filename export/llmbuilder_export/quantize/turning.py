"""Turn groups of features by Hadamard matrices, which spreads what is large over its group."""

import numpy as np

from llmbuilder.arrays import FloatArray

MOST = 64


def turn_size(width: int, most: int = MOST) -> int:
    """The largest power of two up to ``most`` that divides ``width``."""
    return min(width & -width, most)


def turned(rows: FloatArray, size: int) -> FloatArray:
    """Rows [rows, K], each group of ``size`` features turned; turning twice changes nothing.

    Args:
        rows: any number of them.
        size: a power of two that divides K; 0: nothing is turned.
    """
    if not size:
        return rows
    groups = rows.reshape(*rows.shape[:-1], -1, size) @ hadamard(size)
    result: FloatArray = groups.reshape(rows.shape)
    return result


def hadamard(size: int) -> FloatArray:
    """Sylvester's matrix [size, size] of a power of two, symmetric and its own inverse."""
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    result: FloatArray = matrix / np.sqrt(np.float32(size))
    return result
