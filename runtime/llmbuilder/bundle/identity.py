"""Which file a path leads to, and whether it is still that one, unchanged."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from llmbuilder.errors import BundleError


class Identity(NamedTuple):
    """A file behind a path, links followed, and its state.

    ``changed`` is the system's own time of the last change of any kind (on Windows that of its making): unlike
    ``modified`` nobody can set it back. ``link`` is the same of the path itself.
    """

    path: str
    link: tuple[int, int]
    device: int
    inode: int
    size: int
    modified: int
    changed: int


def identify(path: Path) -> Identity:
    """Look at a file without opening it.

    Raises:
        BundleError: it is not there, or neither a plain file nor a link to one.
    """
    try:
        link, status = path.lstat(), path.stat()
        target = os.path.realpath(path, strict=True)
    except OSError as error:
        raise BundleError(
            f"{path} cannot be followed: {error}. Copy the bundle again, or the files that its links lead to."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(
            f"{path} is neither a plain file nor a link to one. Copy the file itself into the bundle."
        )
    return Identity(
        target,
        (link.st_ino, link.st_ctime_ns),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def is_read_by_path(graph: Path, weights: Path) -> bool:
    """Whether ONNX Runtime must open the graph itself in order to find its weights.

    It reads weights from the directory that it is told of, links inside of it followed; or, where the graph's path is a
    link, from the directory of the file that it leads to (ONNX Runtime 1.32). The Hugging Face Hub keeps both behind
    links, side by side.

    Raises:
        BundleError: it would refuse the weights either way.
    """
    real = Path(os.path.realpath(weights))
    if real.is_relative_to(os.path.realpath(graph.parent)):
        return False
    if real.is_relative_to(Path(os.path.realpath(graph)).parent):
        return True
    raise BundleError(
        f"{weights} is a link to {real}, and ONNX Runtime reads weights only from the graph's own directory. "
        "Copy the file itself into the bundle (cp -L), or link the graph to the same directory."
    )
