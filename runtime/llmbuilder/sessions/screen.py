"""What can be done with a terminal besides writing: its width, colours, and what is typed while nobody reads."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

BOLD_CYAN = "1;36"


def columns() -> int:
    """How many characters a line has room for."""
    return shutil.get_terminal_size().columns


def is_coloured(stream: TextIO) -> bool:
    """Whether a stream may be coloured: a terminal that can be, whose user has not said no (no-color.org)."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def coloured(text: str, stream: TextIO) -> str:
    """A text that stands out where it may."""
    return f"\x1b[{BOLD_CYAN}m{text}\x1b[0m" if is_coloured(stream) else text


@contextmanager
def unseen_typing() -> Iterator[None]:
    """What is typed meanwhile is not shown; whoever reads next gets it. Ctrl-C interrupts as ever."""
    try:
        import termios
    except ImportError:  # Windows shows what is typed only when it is read
        yield
        return
    try:
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (OSError, ValueError, termios.error):
        yield
        return
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSANOW, before)
