"""How far a long run is, on stderr: a live line on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from llmbuilder_cli.report import tell

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def said(text: str, *, always: bool = False) -> Iterator[None]:
    """Say what is going on as long as it does, on a terminal; elsewhere it is a line, if ``always``, or nothing."""
    from llmbuilder.showing import is_erasable, printable, stand, write_aside

    text = f"{printable(text)} ..."
    stands = is_erasable()
    if stands:
        stand(text)
    elif always or sys.stderr.isatty():
        write_aside(f"{text}\n")
    try:
        yield
    finally:
        if stands:
            write_aside("")


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
