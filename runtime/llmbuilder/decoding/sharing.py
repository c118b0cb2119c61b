"""How much of a prompt need not be computed again.

What is used again was computed as part of a prompt, never token by token, and at least two tokens are computed anew: so
the numbers are, bit for bit, those of computing the whole prompt (see `llmbuilder.decoding.rows.chunk_size`).
"""

import numpy as np
import numpy.typing as npt

from llmbuilder.decoding.rows import LEAST_CHUNK

Ids = npt.NDArray[np.int64]


def common_length(known: Ids, ids: Ids) -> int:
    """How many tokens [n] two prompts begin with alike."""
    size = min(known.size, ids.size)
    differing = known[:size] != ids[:size]
    return int(differing.argmax()) if differing.any() else size


def reusable_length(known: Ids, ids: Ids, border: int, least: int = LEAST_CHUNK) -> int:
    """How many tokens of ``ids`` are known: all, or so many that what is computed has the bits of the whole.

    Args:
        known: a prompt [n] that was computed.
        ids: the prompt [m] that is to be.
        border: prompts are cut at multiples of it; 1: so that no chunk of a single token is used or computed.
        least: fewer are none, unless the prompts are equal.
    """
    common = common_length(known, ids)
    if common == ids.size == known.size:
        return common
    if border > 1:
        return min(common, ids.size - 1) // border * border
    common = min(common, ids.size - LEAST_CHUNK)
    return common if common >= least else 0
