"""What loading leaves in memory that nobody needs: pages of mapped files, and what was allocated and freed.

The system may take back what of a mapped file nobody wrote to: the file has it still.
"""

import ctypes
import mmap
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from llmbuilder.engine.addresses import IN_SWAP, OF_FILE, PRESENT, advise, entries, mappings


def give_back_mapped(path: Path) -> None:
    """Return the pages of a file that are mapped; those that are needed again are read again. Only done on Linux.

    ONNX Runtime maps the weights, packs most of them into memory of its own, and keeps the mapping.
    """
    if sys.platform == "linux":
        with suppress(OSError, ValueError):  # no /proc, or one that is kept from us
            name = str(path.resolve())
            for start, end, of in list(mappings()):
                if of == name and not _is_written(start, end):
                    advise(start, end - start, mmap.MADV_DONTNEED)


def give_back_freed() -> None:
    """Return what is freed; glibc keeps it for what may come, for each thread. Does nothing with other libraries."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _is_written(start: int, end: int) -> bool:
    """Whether a mapping has pages that are no longer the file's."""
    pages = entries(start, end)
    there = pages & np.uint64(PRESENT | IN_SWAP) != 0
    return bool(np.any(there & (pages & np.uint64(OF_FILE) == 0)))
