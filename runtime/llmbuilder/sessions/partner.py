"""Who answers in a session, and what became of the last answer."""

from collections.abc import Callable, Iterator
from typing import Protocol

from llmbuilder.config import GenerationConfig
from llmbuilder.generator import Completion

Turns = list[dict[str, str]]


class Partner(Protocol):
    """Who answers."""

    config: GenerationConfig
    system_prompt: str | None
    dropped_turns: int
    """How many of the oldest turns the last answer did without."""

    def stream(self, user_input: str, conversation: Turns, /) -> Iterator[str]:
        """Answer, given the turns before."""
        ...

    def last_completion(self) -> Completion | None:
        """What became of the last answer; None before the first, and of one that was stopped."""
        ...


class Remembering:
    """What is known of the last answer, for whoever answers."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._completion: Callable[[], Completion | None] = lambda: None

    def last_completion(self) -> Completion | None:
        """What became of the last answer, with tokens and times; None before the first, and of one that was stopped."""
        return self._completion()

    def _remembered(self, running: tuple[Callable[[], Completion | None], Iterator[str]]) -> Iterator[str]:
        """The pieces of an answer, as `TextGenerator.running` gives them; their completion is the last from now on."""
        self._completion, pieces = running
        return pieces
