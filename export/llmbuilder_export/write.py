"""Write the files of a bundle, the manifest last."""

import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from llmbuilder.bundle.manifest import (
    CHAT_TEMPLATE_NAME,
    GRAPH_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    FileEntry,
    Manifest,
)
from llmbuilder.userdata import file_sha256
from llmbuilder_export.graph import name_nodes
from llmbuilder_export.staging import named, sync

if TYPE_CHECKING:  # writing needs no torch
    from llmbuilder_export.sources.tokenizer import TokenizerSource

_LICENSE = re.compile(r"(LICEN[CS]E|NOTICE|COPYING)(\.(txt|md))?", re.IGNORECASE)
_SMALLEST_EXTERNAL = 1024
"""Bytes from which a tensor lies in the weights file; smaller ones are read while the graph is being optimized."""


def write_files(
    folder: Path, model: ir.Model, tokenizer: "TokenizerSource", chat_template: str | None, source: Path
) -> dict[str, FileEntry]:
    """Write everything but the manifest into ``folder``; weights are streamed, one tensor at a time.

    Nodes are named anew, so that one model has the same bytes whatever the process did before.

    Licenses that lie in the directory ``source`` are taken over, as files that may be missing later.

    Returns:
        Size and hash of each file by its name.
    """
    name_nodes(model.graph)
    with named(folder / WEIGHTS_NAME):
        ir.save(
            model, folder / GRAPH_NAME, external_data=WEIGHTS_NAME, size_threshold_bytes=_SMALLEST_EXTERNAL
        )
    with named(folder / tokenizer.facts.file):
        (folder / tokenizer.facts.file).write_bytes(tokenizer.content)
    if chat_template is not None:
        with named(folder / CHAT_TEMPLATE_NAME):
            (folder / CHAT_TEMPLATE_NAME).write_text(chat_template, encoding="utf-8")
    needed = {path.name: _entry(path) for path in sorted(folder.iterdir())}
    return needed | {path.name: _entry(path, optional=True) for path in _copy_licenses(source, folder)}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last: a directory without it is no bundle."""
    path = folder / MANIFEST_NAME
    with named(path):
        path.write_text(manifest.to_json(), encoding="utf-8")
        sync(path)


def created_by() -> str:
    """Name and version of this package, for the manifest."""
    try:
        return f"llmbuilder-runtime {metadata.version('llmbuilder-runtime')}"
    except metadata.PackageNotFoundError:
        return "llmbuilder-runtime"


def _copy_licenses(source: Path, folder: Path) -> list[Path]:
    if not source.is_dir():
        return []
    licenses = [path for path in sorted(source.iterdir()) if _LICENSE.fullmatch(path.name) and path.is_file()]
    for path in licenses:
        with named(folder / path.name):
            shutil.copyfile(path, folder / path.name)
    return [folder / path.name for path in licenses]


def _entry(path: Path, *, optional: bool = False) -> FileEntry:
    sync(path)
    return FileEntry(size=path.stat().st_size, sha256=file_sha256(path), optional=optional)
