"""What loading leaves in memory that nobody needs: pages of mapped files, and what was allocated and freed.

The system may take back what of a mapped file nobody wrote to: the file has it still.
"""

import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) [r-][w-][x-]p \S+ \S+ \d+ +(.*)")
"""Of /proc/self/maps: a mapping of the process's own, its ends and its file."""
_PRESENT, _IN_SWAP, _OF_FILE = (1 << bit for bit in (63, 62, 61))
"""Of an entry in /proc/self/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst)."""
_BYTES_PER_ENTRY = 8


def give_back_mapped(path: Path) -> None:
    """Return the pages of a file that are mapped; those that are needed again are read again. Only done on Linux.

    ONNX Runtime maps the weights, packs most of them into memory of its own, and keeps the mapping.
    """
    if sys.platform == "linux":
        with suppress(OSError, ValueError):  # no /proc, or one that is kept from us
            for start, end in list(_mappings(path)):
                if not _is_written(start, end):
                    _advise(start, end - start, mmap.MADV_DONTNEED)


def give_back_freed() -> None:
    """Return what is freed; glibc keeps it for what may come, for each thread. Does nothing with other libraries."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _mappings(path: Path) -> Iterator[tuple[int, int]]:
    """First and last address of each private mapping of a file."""
    name = str(path.resolve())
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        found = _LINE.fullmatch(line)
        if found and found[3] == name:
            yield int(found[1], 16), int(found[2], 16)


def _is_written(start: int, end: int) -> bool:
    """Whether a mapping has pages that are no longer the file's."""
    entries = _entries(start, end)
    there = entries & np.uint64(_PRESENT | _IN_SWAP) != 0
    return bool(np.any(there & (entries & np.uint64(_OF_FILE) == 0)))


def _entries(start: int, end: int) -> npt.NDArray[np.uint64]:
    """What the system says of each page between two addresses.

    Raises:
        OSError, ValueError: it says nothing.
    """
    first, last = start // mmap.PAGESIZE, end // mmap.PAGESIZE
    with Path("/proc/self/pagemap").open("rb", buffering=0) as file:
        file.seek(first * _BYTES_PER_ENTRY)
        content = file.read((last - first) * _BYTES_PER_ENTRY)
    if len(content) != (last - first) * _BYTES_PER_ENTRY:
        raise ValueError("the page map ends early")
    return np.frombuffer(content, np.uint64)


def _advise(start: int, length: int, advice: int) -> None:
    libc = ctypes.CDLL(None)
    libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice))
