"""A request on its way through a lane, and who hears of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmbuilder.decoding.completion import Piece
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.running import Answer
from llmbuilder.errors import LLMBuilderError


class Listener(Protocol):
    """Who hears of a request, in the decoding thread: what it does there must be short, and wait for nobody."""

    @property
    def is_heard(self) -> bool:
        """Whether anybody may still read what comes."""
        ...

    def tell(self, pieces: Sequence[Piece]) -> None:
        """Take what came."""
        ...

    def end(self, answer: Answer) -> None:
        """Take the end: completions, or the error that took their place."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """One prompt that waits or runs."""

    group: Group
    listener: Listener
    rows: int
    submitted: float
    """When it came, in seconds of one clock."""
    waits: bool = True
    """Whether it has not joined the others yet."""
    streams: bool = False
    """Whether it has its first token."""
    error: LLMBuilderError | None = None
    """Why it is ended, if not by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a lane bears."""

    max_rows: int
    """Most sequences decoded at once."""
    max_waiting: int | None = None
    """Most requests that wait; None: any number."""
    prefix_bytes: int = 0
    """Bytes of beginnings of prompts that are kept for others; 0: none."""
    waiting_seconds: float | None = None
    """Longest time that a request may wait before it joins; None: for ever."""
