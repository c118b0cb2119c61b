"""Arrays that the operating system gives page by page, when they are first written, and takes back in parts."""

import math
import mmap
from contextlib import suppress

import numpy as np
import numpy.typing as npt

_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
_SMALL_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)
_GIVE_BACK = getattr(mmap, "MADV_DONTNEED", None)


class Pages:
    """An array that takes memory only where it was written.

    NumPy asks for huge pages, of which the first token of each head would take one: 2 MB on most machines. Where the
    system has no such mapping, `give_back` does nothing.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        """An array of zeros.

        Raises:
            MemoryError, OSError: the system does not give even the addresses.
        """
        self._mapped: mmap.mmap | None = None
        if not _PRIVATE:
            self.array: npt.NDArray[np.generic] = np.zeros(shape, dtype)
            return
        self._mapped = mmap.mmap(-1, max(math.prod(shape) * dtype.itemsize, 1), flags=_PRIVATE)
        if _SMALL_PAGES is not None:
            with suppress(OSError):  # a kernel without huge pages does not know the word
                self._mapped.madvise(_SMALL_PAGES)
        self.array = np.ndarray(shape, dtype, buffer=self._mapped)

    def give_back(self, first: int, last: int) -> None:
        """Return the whole pages within bytes [first, last); what they held is undefined from then on."""
        start = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
        end = last // mmap.PAGESIZE * mmap.PAGESIZE
        if self._mapped is not None and _GIVE_BACK is not None and start < end:
            self._mapped.madvise(_GIVE_BACK, start, end - start)
