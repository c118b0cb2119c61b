"""An exception as one line on stderr."""

import sys
from types import TracebackType

import typer


def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception in one line; made to be `sys.excepthook`, so that Python then exits with 1."""
    if _is_foreseen(error):
        typer.echo(f"Error: {_one_line(error)}", err=True)
    elif issubclass(kind, Exception):
        typer.echo(f"Unexpected {kind.__name__}: {_one_line(error)} (`llmb --debug` shows where)", err=True)
    else:
        sys.__excepthook__(kind, error, trace)


def _is_foreseen(error: BaseException) -> bool:
    """Whether the message was written for users: the library's own errors, the system's, a missing package."""
    if isinstance(error, OSError | ImportError):
        return True
    # Importing the library is what may have failed with an ImportError, hence not at the top.
    from llmbuilder.errors import LLMBuilderError

    return isinstance(error, LLMBuilderError)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
