"""Find a bundle's files and prove that they are the ones its manifest describes, before anything parses them."""

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmbuilder.bundle.graphcheck import check_graph
from llmbuilder.bundle.manifest import (
    CHAT_TEMPLATE_NAME,
    GRAPH_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    FileEntry,
    Manifest,
)
from llmbuilder.bundle.reading import LARGEST, read_manifest
from llmbuilder.errors import BundleError, ModelNotFoundError
from llmbuilder.userdata import file_sha256, remembered_sha256


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle directory."""

    directory: Path
    manifest: Manifest

    @property
    def manifest_file(self) -> Path:
        """The manifest."""
        return self.directory / MANIFEST_NAME

    @property
    def graph(self) -> Path:
        """The ONNX graph."""
        return self.directory / GRAPH_NAME

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file."""
        return self.directory / self.manifest.tokenizer.file

    @property
    def chat_template(self) -> str | None:
        """Jinja source of the model's own chat template, if it has one."""
        if CHAT_TEMPLATE_NAME not in self.manifest.files:
            return None
        path = self.directory / CHAT_TEMPLATE_NAME
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{path} is not UTF-8: {error}. Export the model again.") from error

    @property
    def size(self) -> int:
        """Bytes of all files the manifest lists."""
        return sum(entry.size for entry in self.manifest.files.values())


def is_bundle(directory: Path) -> bool:
    """Whether there is a manifest in ``directory``."""
    return (directory / MANIFEST_NAME).is_file()


def open_bundle(directory: Path, *, rehash: bool = False) -> Bundle:
    """Verify a bundle's files and return it.

    Names, kinds and sizes are checked every time; hashes when this user first opens these files, or always with
    ``rehash``.

    Raises:
        ModelNotFoundError: there is no such directory.
        BundleError: not a bundle; a file is missing, added, changed, or is a link.
    """
    require_bundle(directory)
    _check_file(directory / MANIFEST_NAME, None)
    manifest = read_manifest(directory / MANIFEST_NAME)
    _check_names(directory, manifest)
    digest = file_sha256 if rehash else remembered_sha256
    for name, entry in manifest.files.items():
        _check_file(directory / name, entry)
        _check_hash(directory / name, entry, digest)
    weights = manifest.files.get(WEIGHTS_NAME)
    check_graph(directory / GRAPH_NAME, manifest.model, weights.size if weights else None)
    return Bundle(directory, manifest)


def require_bundle(directory: Path) -> None:
    """Raise what `open_bundle` raises if there is no manifest in ``directory``."""
    if not directory.exists():
        raise ModelNotFoundError(
            f"There is no bundle at {directory}. Check the path, or make one with `llmb export`."
        )
    if not directory.is_dir() or not is_bundle(directory):
        raise BundleError(
            f"{directory} is not a bundle: it has no {MANIFEST_NAME}. Make one with `llmb export`."
        )


def _check_names(directory: Path, manifest: Manifest) -> None:
    """The directory holds the listed files and nothing else."""
    expected = {MANIFEST_NAME, *manifest.files}
    found = {path.name for path in directory.iterdir()}
    if missing := sorted(expected - found):
        raise BundleError(
            f"{directory} lacks {', '.join(missing)}. Copy the whole bundle again, or export again."
        )
    if extra := sorted(found - expected):
        raise BundleError(
            f"{directory} holds files its manifest does not list: {', '.join(extra)}. Remove them."
        )


def _check_file(path: Path, entry: FileEntry | None) -> None:
    """A plain file with one name, of the listed size; links could change or leak what lies elsewhere."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path} is not a plain file. Copy the file itself into the bundle, not a link.")
    if status.st_nlink != 1:
        raise BundleError(f"{path} has {status.st_nlink} hard links. Copy the file itself into the bundle.")
    if entry is None and status.st_size > LARGEST:
        raise BundleError(
            f"{path} has {status.st_size} bytes, too many for a manifest. Export the model again."
        )
    if entry is not None and status.st_size != entry.size:
        raise BundleError(
            f"{path} has {status.st_size} bytes, its manifest says {entry.size}. Copy the bundle again."
        )


def _check_hash(path: Path, entry: FileEntry, digest: Callable[[Path], str]) -> None:
    try:
        found = digest(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error}. Check its permissions.") from error
    if found != entry.sha256:
        raise BundleError(
            f"{path} was changed: its SHA-256 is not the manifest's. Copy the bundle again, or export again."
        )
