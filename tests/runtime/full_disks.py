"""Disks that are full: a limit to the size of files, which needs no rights, and small disks in memory, which do."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DEVICE = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device is there on Linux only")


@contextmanager
def limited_to(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: as on a full disk, a part of a write succeeds."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class FillsUp:
    """Files opened for writing in a folder, of which none can grow from a certain one on."""

    def __init__(self, folder: Path, spared: int) -> None:
        """Spare so many files that are opened in ``folder``."""
        self._resource = pytest.importorskip("resource")
        self._folder, self._spared = str(folder), spared
        self.opened: list[str] = []
        self._is_watching = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let the disk be as described for a while."""
        before = self._resource.getrlimit(self._resource.RLIMIT_FSIZE)
        with limited_to(before[0]):
            sys.addaudithook(self._see)  # for ever: Python cannot remove it
            self._is_watching = True
            try:
                yield
            finally:
                self._is_watching = False

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_watching or event != "open":
            return
        path, _, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(self._folder):
            self.opened.append(Path(path).name)
            if len(self.opened) > self._spared:
                hard = self._resource.getrlimit(self._resource.RLIMIT_FSIZE)[1]
                self._resource.setrlimit(self._resource.RLIMIT_FSIZE, (0, hard))


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """A disk of that size at ``folder``; only the system's administrator may have one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "small", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only the system's administrator can mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(folder: Path, kibibytes: int) -> None:
    """Make room on a `small_disk`."""
    subprocess.run(["mount", "-o", f"remount,size={kibibytes}k", str(folder)], check=True)
