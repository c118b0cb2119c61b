"""One writer at a time: a file is held by a lock of the system, which ends with the process that has it."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmbuilder.cleanup import writing

_BINARY = getattr(os, "O_BINARY", 0)
_HELD = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_FAR = 1 << 40  # Windows lets nobody read what is locked: a byte far behind the end of the file


@contextmanager
def held(path: Path, *, new: bool) -> Iterator[int | None]:
    """Open a file to append to it, and keep other writers away until the end.

    The lock is on the file itself, so that nothing is left over. Devices and pipes have none, nor have files where
    the system knows no locks.

    Args:
        path: the file; made if it is not there.
        new: whether it must not be there.

    Yields:
        Its descriptor, or None if another writer holds it.

    Raises:
        FileError: it cannot be opened, or is there though it must be new.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY
    with writing(path):
        descriptor = os.open(path, flags | os.O_EXCL if new else flags, 0o666)
    try:
        yield descriptor if _is_ours(descriptor) else None
    finally:
        os.close(descriptor)


def cut(descriptor: int, size: int) -> None:
    """Shorten a file to ``size`` bytes; devices and pipes have no size."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.ftruncate(descriptor, size)


def append(descriptor: int, content: bytes) -> None:
    """Write ``content`` behind what is there, all of it or, where the disk fills up, nothing.

    Raises:
        OSError: it cannot be written.
    """
    size = os.fstat(descriptor).st_size
    try:
        while content:  # a disk that is nearly full takes a part before it refuses
            content = content[os.write(descriptor, content) :]
    except OSError:
        with suppress(OSError):
            cut(descriptor, size)
        raise


def _is_ours(descriptor: int) -> bool:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return True
    try:
        _lock(descriptor)
    except OSError as error:
        return error.errno not in _HELD
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # Not lockf, whose lock ends when the process closes any other descriptor of the file.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
