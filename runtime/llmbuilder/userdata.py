"""What is remembered between runs, in the user's cache directory; losing it costs time, never correctness."""

import contextlib
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import platformdirs

from llmbuilder.cleanup import replace_file


def cache_directory() -> Path:
    """The directory for this package below the platform's cache directory (`XDG_CACHE_HOME` on Linux)."""
    return Path(platformdirs.user_cache_dir("llmbuilder-runtime"))


def data_directory() -> Path:
    """The directory for what users keep, below the platform's data directory (`XDG_DATA_HOME` on Linux)."""
    return Path(platformdirs.user_data_dir("llmbuilder-runtime"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, compute: Callable[[Path], str] = file_sha256) -> str:
    """SHA-256 of a file, computed once for each state of it.

    That is known by path, size, inode, and the times of the last writing and of the last change of any kind: whoever
    sets the first back changes the second (not on Windows, which has no such time).
    """
    status = path.stat()
    times = f"{status.st_mtime_ns}|{status.st_ctime_ns}"
    identity = f"{path.resolve()}|{status.st_size}|{times}|{status.st_dev}|{status.st_ino}"
    note = (
        cache_directory() / "sha256" / hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    )
    known = _read_note(note)
    if known is None:
        known = compute(path)
        _write_quietly(note, known)
    return known


def _read_note(path: Path) -> str | None:
    """A remembered SHA-256, or None if there is none or a crash has damaged it."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def _write_quietly(path: Path, text: str) -> None:
    """Write a note if the cache directory is writable; containers often have none."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
