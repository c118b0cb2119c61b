"""Arrays that the operating system gives page by page, when they are first written, and takes back in parts.

NumPy asks for huge pages, of which the first token of each head would take one: 2 MB on most machines.
"""

import math
import mmap
from contextlib import suppress

import numpy as np
import numpy.typing as npt

_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
_SMALL_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)
_GIVE_BACK = getattr(mmap, "MADV_DONTNEED", None)


def mapped_zeros(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """An array of zeros that takes memory only where it was written, if the system has such mappings.

    Raises:
        MemoryError, OSError: the system does not give even the addresses.
    """
    if not _PRIVATE:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, max(math.prod(shape) * dtype.itemsize, 1), flags=_PRIVATE)
    if _SMALL_PAGES is not None:
        with suppress(OSError):  # a kernel without huge pages does not know the word
            pages.madvise(_SMALL_PAGES)
    return np.ndarray(shape, dtype, buffer=pages)


def give_back(array: npt.NDArray[np.generic], first: int, last: int) -> None:
    """Return the whole pages within bytes [first, last) of `mapped_zeros`; what they held is undefined from then on."""
    start = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
    end = last // mmap.PAGESIZE * mmap.PAGESIZE
    if isinstance(array.base, mmap.mmap) and _GIVE_BACK is not None and start < end:
        array.base.madvise(_GIVE_BACK, start, end - start)
