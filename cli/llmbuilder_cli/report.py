"""What a command prints: lines, JSON, and an exception as one line on stderr."""

import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_LAST_STREAM = 2


class _Aside(io.FileIO):
    """Standard error, of which what finds no room or no reader is given up."""

    def write(self, content: Any, /) -> int:
        """Write, or pretend to."""
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def ready_streams() -> None:
    """Let standard error fail unnoticed where it is full, gone or closed, since Typer writes to it unprotected.

    A standard output that is closed is one that cannot be written.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST_STREAM:
        pass  # a file that is opened later is not to have the number of a stream that was closed
    os.close(number)
    if sys.stdout is None:
        sys.stdout = _text(io.FileIO(os.open(os.devnull, os.O_RDONLY), "w"), "utf-8")  # whose writes fail
    if sys.stderr is None:
        sys.stderr = _text(io.FileIO(os.devnull, "w"), "utf-8")
    elif not sys.stderr.isatty():
        sys.stderr = _text(_Aside(sys.stderr.fileno(), "w", closefd=False), sys.stderr.encoding)


def _text(raw: io.FileIO, encoding: str) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True)


def write_whatever_comes() -> None:
    """Let both streams write what their encoding lacks as escapes, or it would end a run that has computed it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(text: str, *, err: bool = False) -> None:
    """Print lines, without control characters that come from files."""
    from llmbuilder.showing import printable, write_aside

    if err:
        write_aside(f"{printable(text)}\n")
        return
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def give_up_full(stream: TextIO) -> None:
    """Drop what standard output or error does not take, or Python would end with another exit code."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def tell_json(text: str) -> None:
    """Print JSON that says the same in any encoding."""
    from llmbuilder.showing import writable_json

    sys.stdout.write(f"{writable_json(text, sys.stdout.encoding)}\n")
    sys.stdout.flush()


def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception in one line; made to be `sys.excepthook`, so that Python then exits with 1."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        # Whatever writes a file of its own says which: this was standard output.
        _tell_short(
            f"Error: The output cannot be written: {error.strerror}. Make room, or send it elsewhere."
        )
        give_up_full(sys.stdout)
    elif _is_foreseen(error):
        _tell_short(f"Error: {_one_line(error)}")
    elif issubclass(kind, Exception):
        _tell_short(f"Unexpected {kind.__name__}: {_one_line(error)} (`llmb --debug` shows where)")
    else:
        sys.__excepthook__(kind, error, trace)


def _tell_short(line: str) -> None:
    with contextlib.suppress(ImportError):  # which then is what is told
        from llmbuilder.showing import legible

        line = legible(line)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
    give_up_full(sys.stderr)


def _is_foreseen(error: BaseException) -> bool:
    """Whether the message was written for users: the library's own errors, the system's, a missing package."""
    if isinstance(error, OSError | ImportError):
        return True
    # Importing the library is what may have failed with an ImportError, hence not at the top.
    from llmbuilder.errors import LLMBuilderError

    return isinstance(error, LLMBuilderError)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
