"""From the decoding thread to a task: what came of a request, kept until the task reads it."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

from llmbuilder.decoding.completion import Piece
from llmbuilder.decoding.running import Answer


class Mailbox:
    """Hears of one request, and wakes a task of the event loop that made it. It never makes the thread wait.

    It holds what was not read yet, so no more than the text has: a slow reader costs that, and no one else anything.
    """

    def __init__(self) -> None:
        """Belong to the event loop that runs.

        Raises:
            RuntimeError: none does.
        """
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pieces: list[Piece] = []
        self._answer: Answer | None = None
        self._came = asyncio.Event()
        self._is_told = False

    @property
    def is_heard(self) -> bool:
        """Whether the event loop is open: a closed one has no tasks that could read."""
        return not self._loop.is_closed()

    def tell(self, pieces: Sequence[Piece]) -> None:
        """Take what came."""
        with self._lock:
            self._pieces += pieces
        self._wake()

    def end(self, answer: Answer) -> None:
        """Take the end."""
        with self._lock:
            self._answer = answer
        self._wake()

    async def read(self) -> tuple[list[Piece], Answer | None]:
        """What came since the last call, once something did, and the answer if it is there."""
        while True:
            with self._lock:
                pieces, self._pieces = self._pieces, []
                self._is_told = False
                self._came.clear()
                if pieces or self._answer is not None:
                    return pieces, self._answer
            await self._came.wait()

    def _wake(self) -> None:
        with self._lock:
            was_told, self._is_told = self._is_told, True
        if not was_told:
            with suppress(RuntimeError):  # closed just now
                self._loop.call_soon_threadsafe(self._came.set)
