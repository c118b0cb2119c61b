"""Write a bundle so that it is either whole or not there."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import onnx_ir as ir

from llmbuilder.errors import ExportError
from llmbuilder.manifest import (
    CHAT_TEMPLATE_NAME,
    GRAPH_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    FileEntry,
    Manifest,
)
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
    refuse_existing(output, overwrite=overwrite)
    made = _make_parents(output)
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        yield temporary
        _publish(temporary, output)
        made = []
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise ExportError(
                f"The disk of {output.parent} is full. Free space or pass another output."
            ) from error
        if isinstance(error, PermissionError):
            raise ExportError(
                f"{output.parent} cannot be written ({error}). Pass another output with -o."
            ) from error
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for directory in made:
            _remove_if_empty(directory)


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise `ExportError` if ``output`` is there and may not be replaced, or is no bundle."""
    if not output.exists():
        return
    if not overwrite:
        raise ExportError(f"{output} exists. Pass --overwrite to replace it, or another output with -o.")
    if not (output / MANIFEST_NAME).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise ExportError(f"{output} is not a bundle and will not be replaced. Pass another output with -o.")


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
        try:
            temporary.rename(output)
        except BaseException:
            (retired / output.name).rename(output)
            raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)
    _sync(output.parent)


def _make_parents(output: Path) -> list[Path]:
    """Make the directories above ``output``; return those that were missing, innermost first."""
    missing = [directory for directory in output.parents if not directory.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"{output.parent} cannot be made ({error}). Pass another output with -o."
        ) from error
    return missing


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
