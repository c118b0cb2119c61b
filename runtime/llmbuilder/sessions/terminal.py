"""Where somebody types: a terminal with history and completion, a notebook, or a pipe."""

import builtins
import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, Protocol

from llmbuilder.sessions.screen import coloured, columns, is_coloured, unseen_typing
from llmbuilder.sessions.wrapping import Wrapper, cells, wrapped
from llmbuilder.showing import printable, writable, write_aside
from llmbuilder.userdata import cache_directory

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History

Completions = Mapping[str, Any]
"""Words that may come first, each with those that may follow it (or None)."""


class Terminal(Protocol):
    """Lines in; texts out on stdout, notes on stderr."""

    is_interactive: bool
    """Whether somebody sees what is written at once."""
    stops: str
    """What stops an answer there."""
    leaves: str
    """What ends the input there."""

    def read(self, question: str, default: str = "") -> str | None:
        """The next line, after asking for it; None at the end of input. An empty answer is ``default``."""
        ...

    def answering(self, name: str) -> AbstractContextManager[Callable[[str], None]]:
        """An answer of ``name``, whose pieces are given to the function: a line of its own."""
        ...

    def note(self, text: str) -> None:
        """Show a line that is no part of a text."""
        ...


def open_terminal(completions: Completions | None = None) -> Terminal:
    """What this process is connected to. With ``completions`` lines are remembered from session to session."""
    # A notebook's kernel has no standard input, but puts an input() in place that asks in the page.
    if not isinstance(builtins.input, BuiltinFunctionType):
        return _Notebook()
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _Screen(completions or {})
    return _Pipe()


class _Output:
    is_interactive = False
    stops = "Ctrl-C"
    leaves = "/quit or Ctrl-D"

    @contextlib.contextmanager
    def answering(self, name: str) -> Iterator[Callable[[str], None]]:
        if self.is_interactive:
            _write(name)
        try:
            yield _write
        finally:
            _write("\n")

    def note(self, text: str) -> None:
        write_aside(writable(f"{printable(text)}\n", sys.stderr.encoding))


class _Screen(_Output):
    """Edits lines."""

    is_interactive = True

    def __init__(self, completions: Completions) -> None:
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession(
            completer=_make_completer(completions),
            complete_while_typing=False,
            history=_open_history() if completions else None,
        )
        self._is_session = bool(completions)

    def _styled(self, question: str) -> Any:
        return [("ansigreen bold", question)] if self._is_session and is_coloured(sys.stdout) else question

    @contextlib.contextmanager
    def answering(self, name: str) -> Iterator[Callable[[str], None]]:
        wrapper = Wrapper(columns(), cells(name))
        _write(coloured(name, sys.stdout))
        with unseen_typing():
            try:
                yield lambda piece: _write(wrapper.feed(piece))
            finally:
                _write(f"{wrapper.end()}\n")

    def note(self, text: str) -> None:
        lines = printable(text).split("\n")
        # Beside questions stands a command, which is to be copied as it is.
        super().note("\n".join(wrapped(line, columns()) if self._is_session else line for line in lines))

    def read(self, question: str, default: str = "") -> str | None:
        try:
            # A thread of its own, where a loop runs in this one: there cannot be two.
            return self._session.prompt(self._styled(question), in_thread=_a_loop_runs()) or default
        except EOFError:
            return None


class _Notebook(_Output):
    """Asks in the page, as `input` does there."""

    is_interactive = True
    stops = "interrupting the kernel"
    leaves = "/quit"

    def read(self, question: str, default: str = "") -> str | None:
        try:
            return input(question) or default
        except EOFError:
            return None


class _Pipe(_Output):
    def __init__(self) -> None:
        if isinstance(sys.stdin, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # once something was read it stays as it is
                sys.stdin.reconfigure(errors="surrogateescape")  # a wrong byte is then wrong in its line only

    def read(self, question: str, default: str = "") -> str | None:
        if sys.stdin.isatty():  # only stdout goes elsewhere
            write_aside(question)
        line = sys.stdin.readline()
        return line.rstrip("\r\n") or default if line else None


def _write(text: str) -> None:
    sys.stdout.write(writable(text, sys.stdout.encoding))
    sys.stdout.flush()


def _a_loop_runs() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _make_completer(completions: Completions) -> "Completer":
    """Completes the last word by what may follow the words before it."""
    from prompt_toolkit.completion import Completer, Completion

    class Words(Completer):
        def get_completions(self, document: Any, complete_event: Any) -> Iterator[Completion]:  # noqa: ARG002
            *before, last = document.text_before_cursor.split(" ")
            known: Completions | None = completions
            for word in before:
                known = (known or {}).get(word)
            for word in known or ():
                if word.startswith(last):
                    yield Completion(word, start_position=-len(last))

    return Words()


def _open_history() -> "History":
    """A file in the user's cache directory that only this user may read; memory where there can be none."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Remembered(FileHistory):
        def store_string(self, string: str) -> None:
            with contextlib.suppress(OSError):  # a disk that is full ends no session
                super().store_string(string)

    path = cache_directory() / "history"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        return Remembered(str(path))
    return InMemoryHistory()
