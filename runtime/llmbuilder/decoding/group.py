"""One prompt with the rows its strategy needs, as the loop sees it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from llmbuilder.decoding.completion import Completion, FinishReason, Piece
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.remote import LogitRow
from llmbuilder.errors import LLMBuilderError


class Move(NamedTuple):
    """A row that goes on: from which of the group's rows, and with which token."""

    source: int
    token: int


class Group(Protocol):
    """One prompt and its strategy."""

    prompt: Prompt
    tag: object
    """Whatever the caller knows it by."""
    error: LLMBuilderError | None
    """What ended it, if it did not end by itself."""

    @property
    def width(self) -> int:
        """Most rows it may still need; none when it is done."""
        ...

    @property
    def speculates(self) -> bool:
        """Whether it guesses tokens, and so computes in runs of its own."""
        return False

    def draft(self, most: int) -> Sequence[int]:  # noqa: ARG002 (for those who speculate)
        """A guess of the next tokens, at most ``most``; usually none."""
        return ()

    def start(self) -> None:
        """Called when the prompt is about to be computed."""
        ...

    def advance(self, logits: Sequence[LogitRow]) -> list[Move]:
        """Take the logits [V] of each of its rows; return the rows that go on, none when the group is done."""
        ...

    def tail(self, row: int, count: int) -> Sequence[int]:
        """Last ``count`` ids of a row, prompt included."""
        ...

    def finish(self, reason: FinishReason, error: LLMBuilderError | None = None) -> None:
        """End all rows as they are, or because of ``error``."""
        ...

    def pieces(self) -> list[Piece]:
        """What came since the last call, in order; of a beam search all at its end."""
        ...

    def completions(self) -> list[Completion]:
        """The results, once the group is done; raises the error that ended it."""
        ...


def most_tokens(group: Group) -> int:
    """Most tokens that a group's rows may come to hold in the cache."""
    prompt = group.prompt
    return group.width * min(prompt.context_length, len(prompt.ids) + prompt.max_new_tokens)
