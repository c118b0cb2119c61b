"""What Linux says of the memory of this process, and what it is told to do with it (proc(5), madvise(2))."""

import ctypes
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) [r-][w-][x-]p \S+ \S+ \d+ +(.*)")
"""Of /proc/self/maps: a mapping of the process's own, its ends and its file."""
PRESENT, IN_SWAP, OF_FILE = (1 << bit for bit in (63, 62, 61))
"""Of an entry in /proc/self/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst)."""
_BYTES_PER_ENTRY = 8


class Mapping(NamedTuple):
    """Addresses from ``start`` up to ``end``, of a file or with another name; memory of no file may have none."""

    start: int
    end: int
    name: str


def mappings() -> Iterator[Mapping]:
    """The private mappings.

    Raises:
        OSError: the system does not tell.
    """
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        if found := _LINE.fullmatch(line):
            yield Mapping(int(found[1], 16), int(found[2], 16), found[3])


def entries(start: int, end: int) -> npt.NDArray[np.uint64]:
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


def advise(start: int, length: int, advice: int) -> bool:
    """Whether the system takes the advice."""
    libc = ctypes.CDLL(None)
    refused: int = libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice))
    return not refused
