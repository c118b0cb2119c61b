"""How far a long run is, on stderr: a live line on a terminal, elsewhere a line now and then."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from llmbuilder_cli.report import tell

SECONDS_BETWEEN_LINES = 10.0
_ERASE = "\r\x1b[K"
_CELLS = 20
_SECONDS_BETWEEN_BARS = 0.1


def _is_erasable() -> bool:
    """Whether standard error is a terminal that can take back what it shows."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def said(text: str, *, always: bool = False) -> Iterator[None]:
    """Say what is going on as long as it does, on a terminal; elsewhere it is a line, if ``always``, or nothing."""
    from llmbuilder.showing import printable, write_aside

    text = f"{printable(text)} ..."
    is_erasable = _is_erasable()
    if is_erasable:
        write_aside(text)
    elif always or sys.stderr.isatty():
        write_aside(f"{text}\n")
    try:
        yield
    finally:
        if is_erasable:
            write_aside(_ERASE)


class Bar:
    """Lines as they come, and below them a bar where that can be taken back; as a context manager."""

    def __enter__(self) -> Self:
        """Begin without one."""
        self._erasable = _is_erasable()
        self._is_there = False
        self._drawn = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._write("")

    def say(self, line: str) -> None:
        """Write a line above."""
        from llmbuilder.showing import printable

        self._write(f"{printable(line)}\n")

    def advance(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are; when the last is, the bar goes."""
        if not self._erasable or (done < total and time.monotonic() - self._drawn < _SECONDS_BETWEEN_BARS):
            return
        if done == total:
            self._write("")
            return
        self._drawn = time.monotonic()
        text = f"{100 * done // total:3} %  {what}: {done} of {total}"
        cells = f"  [{'#' * (_CELLS * done // total):-<{_CELLS}}]"
        has_room = len(text) + len(cells) < shutil.get_terminal_size().columns
        self._write(text + cells * has_room)
        self._is_there = True

    def _write(self, text: str) -> None:
        """Write in the place of the bar."""
        from llmbuilder.showing import write_aside

        if text or self._is_there:
            write_aside(f"{_ERASE if self._is_there else ''}{text}")
        self._is_there = False


class LiveLine:
    """A line that says how far a run is, as a context manager."""

    def __enter__(self) -> Self:
        """Begin to show it."""
        from rich.console import Console
        from rich.status import Status

        console = Console(stderr=True, highlight=False, markup=False)
        self._status = Status("", console=console) if console.is_terminal else None
        self._shown = time.monotonic()
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show this from now on."""
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = time.monotonic()
            tell(text, err=True)
