"""How long filtering a text may take."""

import time

from llmbuilder.errors import ConfigError

SECONDS = 4.0
"""What all checks of one text may take together, and as much again for each `CHARACTERS` of it."""
CHARACTERS = 250_000
"""A quarter of a megabyte of prose takes about half a second on a slow core."""


class Clock:
    """Counts the time that this thread computes, so that a busy machine changes no verdict."""

    def __init__(self, characters: int) -> None:
        """Start; ``characters`` is the length of the text."""
        self._characters = characters
        self._seconds = SECONDS * (1 + characters / CHARACTERS)
        self._start = time.thread_time()

    def left(self, what: str) -> float:
        """Seconds that are left, more than none.

        Raises:
            ConfigError: the time is over; ``what`` was going on.
        """
        left = self._seconds - (time.thread_time() - self._start)
        if left <= 0:
            raise self.over(what)
        return left

    def over(self, what: str) -> ConfigError:
        """The error that says so."""
        return ConfigError(
            f"{what} takes more than {self._seconds:.3g} s for a text of {self._characters} characters. "
            "Filter shorter texts, or make it simpler."
        )
