"""Put a bundle in its place so that it is whole or not there, whatever stops the export.

An export works in a directory of its own beside its output, `.NAME-xxxxxxxx.export`:

    lock    held by the export as long as its process lives
    new     the bundle that is being made
    old     the bundle that it replaces, from when it is moved away until it is deleted

What nobody holds was left by an export that was killed. The next one to the same output removes it, and puts `old` back
if `new` is still there, so never took its place.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from llmbuilder.bundle.manifest import FORMAT, MANIFEST_NAME
from llmbuilder.errors import ExportError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCK, _NEW, _OLD = "lock", "new", "old"
_TRIES = 10


@contextmanager
def staged(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a directory that becomes ``output`` if all goes well, and vanishes if anything does not.

    Args:
        output: the directory to make.
        overwrite: whether it may replace one that is there.

    Raises:
        ExportError: it is there and may not be replaced, or the disk is full or cannot be written.
    """
    with _explained(output), _workplace(output) as place:
        (place / _NEW).mkdir()
        yield place / _NEW
        _refuse_existing(output, overwrite=overwrite)
        _publish(place, output)


def refuse_unusable(output: Path, *, overwrite: bool) -> None:
    """Raise what `staged` would if ``output`` cannot be made or may not be replaced, before work is spent on it.

    What killed exports to it have left is put right before.
    """
    with _explained(output):
        _clear_abandoned(output)
        _refuse_existing(output, overwrite=overwrite)
        with _workplace(output):
            pass


def sync(path: Path) -> None:
    """Ask the system to put a file or directory on the disk, where it can (Windows cannot for directories)."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Write a file; of an error of the system that names none, or its source, it is told that it was this one."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def _workplace(output: Path) -> Iterator[Path]:
    """An export's own directory; in the end it is gone, and so are parents made for it that are empty."""
    missing = [directory for directory in output.parents if not directory.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        place, lock = _claim(output)
        try:
            yield place
        finally:
            try:
                _settle(place, output)
            finally:
                lock.release()
    finally:
        for directory in missing:
            with suppress(OSError):
                directory.rmdir()


def _claim(output: Path) -> tuple[Path, FileLock]:
    """Make a directory and take its lock; another export may see it before it is locked and clear it away."""
    for _ in range(_TRIES):
        place = Path(tempfile.mkdtemp(prefix=f".{output.name}-", suffix=".export", dir=output.parent))
        lock = FileLock(place / _LOCK)
        with suppress(Timeout, FileNotFoundError):
            lock.acquire(blocking=False)
            if (place / _LOCK).exists():
                return place, lock
            lock.release()
    raise ExportError(f"Other exports to {output} keep clearing it. Pass another output with -o.")


def _clear_abandoned(output: Path) -> None:
    """Put right what exports to ``output`` have left whose process is gone."""
    name = re.compile(rf"\.{re.escape(output.name)}-[a-z0-9_]{{8}}\.export")
    if not output.parent.is_dir():
        return
    for place in [place for place in output.parent.iterdir() if name.fullmatch(place.name)]:
        with suppress(
            Timeout, FileNotFoundError, PermissionError
        ):  # it is held, gone by now, or another user's
            if _is_workplace(place):
                with FileLock(place / _LOCK).acquire(blocking=False):
                    _settle(place, output)


def _is_workplace(place: Path) -> bool:
    return _is_folder(place) and {path.name for path in place.iterdir()} <= {_LOCK, _NEW, _OLD}


def _settle(place: Path, output: Path) -> None:
    """Put an old bundle back if its replacement never came, and remove the rest.

    Raises:
        ExportError: it cannot be put back; the next export to ``output`` will try again.
    """
    old, new = place / _OLD, place / _NEW
    if os.path.lexists(old) and new.exists() and not os.path.lexists(output):
        try:
            old.rename(output)
        except OSError as error:
            raise ExportError(
                f"The bundle that was at {output} cannot be put back there ({error}): it is in {old}. Move it by hand."
            ) from error
    _remove_bundle(old, output)
    if not os.path.lexists(old):
        shutil.rmtree(place, ignore_errors=True)


def _remove_bundle(old: Path, output: Path) -> None:
    """Delete the files of a bundle that is replaced; whatever else is in it goes over to ``output``."""
    if old.is_symlink():
        old.unlink()
    if not old.is_dir():
        return
    others = _others(old)
    for path in list(old.iterdir()):
        if path.name not in others and path.name != MANIFEST_NAME:
            path.unlink()
        elif path.name in others and not os.path.lexists(output / path.name):
            with suppress(OSError):
                path.rename(output / path.name)
    with suppress(OSError):
        (old / MANIFEST_NAME).unlink(missing_ok=True)  # last: it tells what may be deleted
        old.rmdir()


def _refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise `ExportError` if ``output`` is there and may not be replaced, or is not a bundle and nothing else."""
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise ExportError(f"{output} exists. Pass --overwrite to replace it, or another output with -o.")
    if not output.is_dir() or (any(output.iterdir()) and _listed(output) is None):
        raise ExportError(f"{output} is not a bundle and will not be replaced. Pass another output with -o.")
    if others := sorted(_others(output)):
        raise ExportError(
            f"{output} holds what is not of the bundle ({', '.join(others)}) and will not be replaced. "
            "Move that away, or pass another output with -o."
        )


def _others(directory: Path) -> set[str]:
    """Names in a bundle's directory that are no files of the bundle; a directory is none, whatever it is called."""
    listed = _listed(directory) or set()
    return {path.name for path in directory.iterdir() if path.name not in listed or _is_folder(path)}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _listed(directory: Path) -> set[str] | None:
    """Names of the bundle's files as its manifest lists them, in any version; None if it is no bundle."""
    try:
        manifest = json.loads((directory / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        return None
    files = manifest.get("files")
    return {MANIFEST_NAME, *(files if isinstance(files, dict) else ())}


def _publish(place: Path, output: Path) -> None:
    """Rename the new bundle to ``output``; what was there is moved away first and deleted last."""
    new = place / _NEW
    new.chmod(0o777 & ~_umask())
    sync(new)
    if os.path.lexists(output):
        output.rename(place / _OLD)
    new.rename(output)
    sync(output.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Tell the system's errors as an `ExportError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL or _is_cut_short(error):
            raise ExportError(
                f"The disk of {output.parent} is full ({_reason(error)}). Free space, or pass another output with -o."
            ) from error
        if error.errno is None or not _is_of(output, error.filename):
            raise
        reason = error.strerror or error
        raise ExportError(f"{output} cannot be written ({reason}). Pass another output with -o.") from error


def _reason(error: OSError) -> str:
    """What the system says, and of which file of the bundle if it is known."""
    if not isinstance(error.filename, str | bytes):
        return str(error)
    return f"{Path(os.fsdecode(error.filename)).name}: {error.strerror or error}"


def _is_cut_short(error: OSError) -> bool:
    """Whether NumPy tells, without saying why, of a file that it could not write whole: the disk is full."""
    return type(error) is OSError and error.errno is None and "writ" in str(error)


def _is_of(output: Path, filename: object) -> bool:
    """Whether a file lies on the way to ``output`` or beside it; if the system names none, it was one to be written."""
    if not isinstance(filename, str | bytes):
        return True
    path, folder = Path(os.fsdecode(filename)).absolute(), output.parent.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)
