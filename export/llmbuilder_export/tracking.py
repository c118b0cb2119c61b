"""How far the loops of an export are. They lie deep, and nothing that they compute depends on who listens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Advance = Callable[[str, int, int], None]
"""Takes what is counted, such as ``weights``, how many are done, and how many there are."""

Item = TypeVar("Item")


def nobody(what: str, done: int, total: int) -> None:
    """Do nothing."""


_listener: ContextVar[Advance] = ContextVar("listener", default=nobody)


@contextmanager
def told_to(advance: Advance) -> Iterator[None]:
    """Call ``advance`` for every item of the loops that run in here."""
    before = _listener.set(advance)
    try:
        yield
    finally:
        _listener.reset(before)


def tracked(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items, and tell how many of them are done before each and after the last; nothing if there are none."""
    advance = _listener.get() if items else nobody
    for done, item in enumerate(items):
        advance(what, done, len(items))
        yield item
    advance(what, len(items), len(items))
