"""Write a bundle so that it is either whole or not there."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import onnx_ir as ir

from llmbuilder.bundle.manifest import (
    CHAT_TEMPLATE_NAME,
    FORMAT,
    GRAPH_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    FileEntry,
    Manifest,
)
from llmbuilder.cleanup import undone_on_error
from llmbuilder.errors import ExportError
from llmbuilder.userdata import file_sha256
from llmbuilder_export.sources.tokenizer import TokenizerSource

_SMALLEST_EXTERNAL = 1024
"""Bytes from which a tensor lies in the weights file; smaller ones are read while the graph is being optimized."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def staged(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary directory that becomes ``output`` if all goes well, and vanishes if anything does not.

    Args:
        output: the directory to make.
        overwrite: whether it may replace one that is there.

    Raises:
        ExportError: it is there and may not be replaced, or the disk is full or cannot be written.
    """
    with _explained(output), _temporary(output) as temporary:
        yield temporary
        _refuse_existing(output, overwrite=overwrite)
        _publish(temporary, output)


def refuse_unusable(output: Path, *, overwrite: bool) -> None:
    """Raise what `staged` would if ``output`` cannot be made or may not be replaced, before work is spent on it."""
    with _explained(output):
        _refuse_existing(output, overwrite=overwrite)
        with _temporary(output):
            pass


def write_files(
    folder: Path, model: ir.Model, tokenizer: TokenizerSource, chat_template: str | None
) -> dict[str, FileEntry]:
    """Write everything but the manifest into ``folder``; weights are streamed, one tensor at a time.

    Returns:
        Size and hash of each file by its name.
    """
    ir.save(model, folder / GRAPH_NAME, external_data=WEIGHTS_NAME, size_threshold_bytes=_SMALLEST_EXTERNAL)
    shutil.copyfile(tokenizer.path, folder / tokenizer.facts.file)
    if chat_template is not None:
        (folder / CHAT_TEMPLATE_NAME).write_text(chat_template, encoding="utf-8")
    return {path.name: _entry(path) for path in sorted(folder.iterdir())}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last: a directory without it is no bundle."""
    path = folder / MANIFEST_NAME
    path.write_text(manifest.to_json(), encoding="utf-8")
    _sync(path)


def created_by() -> str:
    """Name and version of this package, for the manifest."""
    try:
        return f"llmbuilder-runtime {metadata.version('llmbuilder-runtime')}"
    except metadata.PackageNotFoundError:
        return "llmbuilder-runtime"


def _entry(path: Path) -> FileEntry:
    _sync(path)
    return FileEntry(size=path.stat().st_size, sha256=file_sha256(path))


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Tell the system's errors as an `ExportError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL or _is_cut_short(error):
            raise ExportError(
                f"The disk of {output.parent} is full ({error}). Free space, or pass another output with -o."
            ) from error
        if error.errno is None or not _is_of(output, error.filename):
            raise
        raise ExportError(f"{output} cannot be written ({error}). Pass another output with -o.") from error


def _is_cut_short(error: OSError) -> bool:
    """Whether NumPy tells, without saying why, of a file that it could not write whole: the disk is full."""
    return type(error) is OSError and error.errno is None and "writ" in str(error)


def _is_of(output: Path, filename: object) -> bool:
    """Whether a file lies on the way to ``output`` or beside it; if the system names none, it was one to be written."""
    if not isinstance(filename, str | bytes):
        return True
    path, folder = Path(os.fsdecode(filename)).absolute(), output.parent.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


@contextmanager
def _temporary(output: Path) -> Iterator[Path]:
    """A directory beside ``output``; in the end it is gone, and so are parents made for it that are empty."""
    missing = [directory for directory in output.parents if not directory.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        for directory in missing:
            _remove_if_empty(directory)


def _refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise `ExportError` if ``output`` is there and may not be replaced, or is not a bundle and nothing else."""
    if not output.exists():
        return
    if not overwrite:
        raise ExportError(f"{output} exists. Pass --overwrite to replace it, or another output with -o.")
    found = {path.name for path in output.iterdir()} if output.is_dir() else None
    listed = _listed(output)
    if found is None or (found and listed is None):
        raise ExportError(f"{output} is not a bundle and will not be replaced. Pass another output with -o.")
    if others := sorted(found - (listed or set())):
        raise ExportError(
            f"{output} holds what is not of the bundle ({', '.join(others)}) and will not be replaced. "
            "Move that away, or pass another output with -o."
        )


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


def _publish(temporary: Path, output: Path) -> None:
    """Rename ``temporary`` to ``output``; what was there is moved away first and deleted last."""
    temporary.chmod(0o777 & ~_umask())
    _sync(temporary)
    if not output.exists():
        temporary.rename(output)
        _sync(output.parent)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
    try:
        output.rename(retired / output.name)
        with undone_on_error(lambda: (retired / output.name).rename(output)):
            temporary.rename(output)
    finally:
        shutil.rmtree(retired, ignore_errors=True)
    _sync(output.parent)


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return


def _sync(path: Path) -> None:
    """Ask the system to put a file or directory on the disk, where it can (Windows cannot for directories)."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
