"""What everything has in common that must be closed, undone, or put into a file."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from llmbuilder.errors import FileError


class Closing(ABC):
    """A context manager that closes itself at the end."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held; closing again does nothing."""

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


@contextmanager
def undone_on_error(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` if the block raises: for what is open, or moved away, already when the rest fails."""
    try:
        yield
    except BaseException:
        undo()
        raise


@contextmanager
def writing(path: str | PathLike[str], advice: str = "Make room, or name another place.") -> Iterator[None]:
    """Say which file it is that cannot be written; the system does not, where the disk is full.

    Raises:
        FileError: whatever `OSError` the block raises.
    """
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}. {advice}") from error


def replace_file(path: Path, text: str) -> None:
    """Write a text file of UTF-8 whole or not at all: beside it at first, then in its place.

    A link stays one, to the new text; pipes and devices are written to.

    Raises:
        OSError: it cannot be written; what was there is there still, and nothing else.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
