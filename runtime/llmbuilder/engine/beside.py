"""Two things at once, where one of them leaves Python alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Beside(Generic[_T]):
    """What `beside` works at; ``result`` is for after the block."""

    result: _T
    _error: BaseException | None = None

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work

    def run(self) -> None:
        """Do it, once."""
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            self._error = error

    def check(self) -> None:
        """Raise what the work has raised."""
        if self._error is not None:
            raise self._error


@contextmanager
def beside(work: Callable[[], _T]) -> Iterator[Beside[_T]]:
    """Do ``work`` in a thread while the block runs. The end of the block waits for it.

    Raises:
        BaseException: what ``work`` raises, at the end of the block; rather than what the block raises, which is of no
            use then.
    """
    other = Beside(work)
    thread = threading.Thread(target=other.run, name="llmbuilder-beside")
    try:
        thread.start()
    except RuntimeError:  # the system gives no thread
        other.run()
        other.check()
        yield other
        return
    try:
        yield other
    except Exception:
        thread.join()
        other.check()
        raise
    thread.join()
    other.check()
