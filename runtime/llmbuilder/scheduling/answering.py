"""An answer on its way to a task."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmbuilder.decoding.completion import Completion, Piece
from llmbuilder.decoding.group import Group
from llmbuilder.errors import LLMBuilderError
from llmbuilder.scheduling.lane import Lane
from llmbuilder.scheduling.mailbox import Mailbox
from llmbuilder.scheduling.prefixes import KeptIds

if TYPE_CHECKING:
    from llmbuilder.decoding.running import Answer


class Answering:
    """A prompt that is being continued: its pieces as they come, then its completions.

    An async context manager: leaving it ends the work, if there is any left. For one task.
    """

    def __init__(self, lane: Lane, group: Group) -> None:
        """Let ``group`` join those of a lane.

        Raises:
            BusyError: as many wait as may.
            ConfigError: the lane is closed.
        """
        self.prompt = group.prompt
        """The prompt, with all that was settled about it."""
        self._lane = lane
        self._mailbox = Mailbox()
        self._request = lane.submit(group, self._mailbox)
        self._answer: Answer | None = None

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that others had left computed; known with the first piece."""
        return self.prompt.ids.reused if isinstance(self.prompt.ids, KeptIds) else 0

    async def pieces(self) -> AsyncIterator[list[Piece]]:
        """What came, some pieces at a time; of several continuations each with its own number.

        Raises:
            LLMBuilderError: what ended the work, after the pieces before it.
        """
        while self._answer is None:
            pieces, self._answer = await self._mailbox.read()
            if pieces:
                yield pieces
        if isinstance(self._answer, LLMBuilderError):
            raise self._answer

    async def completions(self) -> list[Completion]:
        """The results, when they are there; pieces that were not read are left out.

        Raises:
            LLMBuilderError: what took their place.
        """
        while self._answer is None:
            _, self._answer = await self._mailbox.read()
        if isinstance(self._answer, LLMBuilderError):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        """End the work; its rows are free for others."""
        self._lane.cancel(self._request)

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel."""
        self.cancel()
