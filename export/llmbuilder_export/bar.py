"""How far an export is, on stderr."""

import shutil
import time
from typing import Self

from llmbuilder.showing import is_erasable, printable, stand, write_aside

_CELLS = 20
_SECONDS_BETWEEN_BARS = 0.1


class Bar:
    """Lines as they come, and below them a bar where that can be taken back; as a context manager."""

    def __enter__(self) -> Self:
        """Begin without one."""
        self._drawn = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        write_aside("")

    def say(self, line: str) -> None:
        """Write a line above."""
        write_aside(f"{printable(line)}\n")

    def advance(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are; when the last is, the bar goes."""
        if not is_erasable() or (done < total and time.monotonic() - self._drawn < _SECONDS_BETWEEN_BARS):
            return
        if done == total:
            write_aside("")
            return
        self._drawn = time.monotonic()
        text = f"{100 * done // total:3} %  {what}: {done} of {total}"
        cells = f"  [{'#' * (_CELLS * done // total):-<{_CELLS}}]"
        has_room = len(text) + len(cells) < shutil.get_terminal_size().columns
        stand(text + cells * has_room)
