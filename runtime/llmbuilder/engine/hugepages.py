"""Weights on huge pages: a step reads all of them, and finds them by one address in place of 512.

Most systems give huge pages to who asks for them, and ONNX Runtime does not. What it has filled is moved here, block by
block, between runs: each block stands still for as long as it takes to copy it, and no number changes.
"""

import mmap
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from llmbuilder.engine.addresses import PRESENT, advise, entries, mappings

SHARE = 1 / 4
"""Of the time that is spent on computing, which blocks may take. Moving pays off within as much as it takes."""
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage")
_COLLAPSE = 25
"""MADV_COLLAPSE (Linux 6.1), which moves at once; older ones are asked to do it some time."""


class HugePages:
    """The blocks of memory that loading filled, until they are moved. Threads may use it at the same time."""

    def __init__(self) -> None:
        """Nothing is to be moved."""
        self._blocks: list[int] = []
        self._size = 0
        self._seconds = 0.0

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Of the blocks that the body fills; those of any other thread meanwhile count as well."""
        self._size = _block_size()
        before = set(_filled(self._size))
        yield
        self._blocks = [block for block in _filled(self._size) if block not in before]

    def earn(self, seconds: float) -> None:
        """Allow some time for what a computation took."""
        self._seconds += SHARE * seconds

    def spend(self) -> None:
        """Move blocks for as long as is allowed."""
        while self._seconds > 0 and self._blocks:
            started = time.perf_counter()
            # Another thread may have taken the last one, and /proc may tell nothing any more.
            with suppress(IndexError, OSError, ValueError):
                self._move(self._blocks.pop())
            self._seconds -= time.perf_counter() - started

    def _move(self, block: int) -> None:
        if not _full(block, block + self._size, self._size):
            return  # a part has been freed since, and would be taken again
        if not advise(block, self._size, _COLLAPSE):
            advise(block, self._size, mmap.MADV_HUGEPAGE)


def _block_size() -> int:
    """Bytes of a huge page; 0 where there are none, or whoever runs the system wants none."""
    try:
        if sys.platform != "linux" or "[never]" in (_SYSTEM / "enabled").read_text(encoding="ascii"):
            return 0
        return int((_SYSTEM / "hpage_pmd_size").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _filled(size: int) -> Iterator[int]:
    """Addresses of all blocks that are in memory whole, so that moving them takes no more of it."""
    if not size:
        return
    with suppress(OSError, ValueError):  # no /proc, or one that is kept from us
        for start, end, name in list(mappings()):
            if name in {"", "[heap]"} or name.startswith("[anon:"):
                yield from _full(start, end, size)


def _full(start: int, end: int, size: int) -> list[int]:
    """Addresses of the blocks between two that are in memory whole.

    Raises:
        OSError, ValueError: the system does not tell.
    """
    first, last = -(-start // size) * size, end // size * size
    if first >= last:
        return []
    pages = entries(first, last).reshape(-1, size // mmap.PAGESIZE)
    full = (pages & np.uint64(PRESENT) != 0).all(1)
    return [first + size * int(index) for index in np.flatnonzero(full)]
