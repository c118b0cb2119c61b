"""Find a bundle's files and prove that they are the ones its manifest describes, before anything parses them.

A path is followed as the Hugging Face Hub stores files, by links to plain files; what counts is the content. Files that
the manifest does not list are nobody's business.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmbuilder.bundle.graphcheck import check_content, read_graph
from llmbuilder.bundle.identity import Identity, identify, is_read_by_path
from llmbuilder.bundle.manifest import (
    CHAT_TEMPLATE_NAME,
    GRAPH_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    FileEntry,
    Manifest,
)
from llmbuilder.bundle.reading import read_manifest
from llmbuilder.errors import BundleError, ModelNotFoundError
from llmbuilder.userdata import file_sha256, remembered_sha256


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A verified bundle directory."""

    directory: Path
    manifest: Manifest
    graph_content: bytes | None = field(default=None, repr=False)
    """The graph as it was checked, to be loaded as it is; None: ONNX Runtime must open it, to find its weights."""
    identities: Mapping[str, Identity] = field(default_factory=dict, repr=False)
    """Of each file before it was read, by its name."""

    def __repr__(self) -> str:
        """Where it is, and what is in it."""
        facts = self.manifest
        what = f"{facts.model.architecture}, weights {facts.quantization}, for {facts.device}"
        return f"<Bundle {self.directory}: {what}, {self.size:,} bytes>"

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
        """Jinja source of the model's own chat template, if it has one.

        Raises:
            BundleError: the file is gone, or not UTF-8.
        """
        if CHAT_TEMPLATE_NAME not in self.manifest.files:
            return None
        path = self.directory / CHAT_TEMPLATE_NAME
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path} cannot be read: {error}. Export the model again.") from error

    @property
    def size(self) -> int:
        """Bytes of all files the manifest lists."""
        return sum(entry.size for entry in self.manifest.files.values())

    @property
    def unlisted(self) -> list[str]:
        """Names of files in the directory that are not the bundle's, and are ignored."""
        listed = {MANIFEST_NAME, *self.manifest.files}
        return sorted(path.name for path in self.directory.iterdir() if path.name not in listed)

    def check_unchanged(self) -> None:
        """Raise `BundleError` if a file is no longer the one that was checked: exchanged, or written to."""
        for name, identity in self.identities.items():
            if identify(self.directory / name) != identity:
                raise BundleError(
                    f"{self.directory / name} was changed while it was being loaded. "
                    "Open the bundle again when nobody writes to it."
                )


def is_bundle(directory: Path) -> bool:
    """Whether there is a manifest in ``directory``."""
    return (directory / MANIFEST_NAME).is_file()


def open_bundle(directory: Path, *, rehash: bool = False) -> Bundle:
    """Verify a bundle's files and return it.

    Kinds and sizes are checked every time; hashes when this user first opens these files, or always with ``rehash``,
    which also looks at optional files.

    Raises:
        ModelNotFoundError: there is no such directory.
        BundleError: not a bundle; a file is missing or changed, or a link to something that cannot be loaded.
    """
    require_bundle(directory)
    identities = {MANIFEST_NAME: identify(directory / MANIFEST_NAME)}
    manifest = read_manifest(directory / MANIFEST_NAME)
    files = _files_to_check(directory, manifest, optional=rehash)
    for name, entry in files.items():
        identities[name] = _identify(directory / name, entry)
    digest = file_sha256 if rehash else remembered_sha256
    for name in files.keys() - {GRAPH_NAME}:
        _check_hash(directory / name, files[name], digest)
    graph = _read_graph(directory / GRAPH_NAME, files[GRAPH_NAME])
    by_path = WEIGHTS_NAME in files and is_read_by_path(directory / GRAPH_NAME, directory / WEIGHTS_NAME)
    weights = files.get(WEIGHTS_NAME)
    check_content(graph, directory / GRAPH_NAME, manifest.model, weights.size if weights else None)
    # Absolute: a program may go elsewhere while it uses the bundle.
    return Bundle(directory.absolute(), manifest, None if by_path else graph, identities)


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


def _files_to_check(directory: Path, manifest: Manifest, *, optional: bool) -> dict[str, FileEntry]:
    """The files that are read, and on demand the optional ones that are there."""
    present = {path.name for path in directory.iterdir()}
    needed = {name: entry for name, entry in manifest.files.items() if not entry.optional}
    if missing := sorted(needed.keys() - present):
        raise BundleError(
            f"{directory} lacks {', '.join(missing)}. Copy the whole bundle again, or export again."
        )
    if optional:
        needed |= {name: manifest.files[name] for name in manifest.files.keys() & present}
    return needed


def _identify(path: Path, entry: FileEntry) -> Identity:
    """Look at a file, which must have the listed size."""
    identity = identify(path)
    if identity.size != entry.size:
        raise BundleError(
            f"{path} has {identity.size} bytes, its manifest says {entry.size}. Copy the bundle again."
        )
    return identity


def _read_graph(path: Path, entry: FileEntry) -> bytes:
    """The content of the graph, whose hash is computed every time: it is small, and loaded as it was read."""
    try:
        content = read_graph(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    _compare(path, entry, hashlib.sha256(content).hexdigest())
    return content


def _check_hash(path: Path, entry: FileEntry, digest: Callable[[Path], str]) -> None:
    try:
        actual = digest(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    _compare(path, entry, actual)


def _compare(path: Path, entry: FileEntry, actual: str) -> None:
    if actual != entry.sha256:
        raise BundleError(
            f"{path} was changed: its SHA-256 is not the manifest's. Copy the bundle again, or export again."
        )


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path} cannot be read: {error}. Check its permissions.")
