"""Independent continuations of one prompt, greedy or sampled, as one `Group` of the loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmbuilder.decoding.completion import Completion, FinishReason, Piece
from llmbuilder.decoding.continuation import Continuation
from llmbuilder.decoding.group import Group, Move
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.remote import LogitRow
from llmbuilder.errors import LLMBuilderError


@dataclass(slots=True, eq=False)
class SampleGroup(Group):
    """Independent continuations of one prompt: greedy or sampled. They share the prompt's computation."""

    prompt: Prompt
    continuations: list[Continuation]
    _live: list[Continuation] = field(init=False)
    tag: object = None
    error: LLMBuilderError | None = None

    def __post_init__(self) -> None:
        """All continuations begin in the one row of the prompt."""
        self._live = list(self.continuations)

    @property
    def width(self) -> int:
        """Continuations that have not ended."""
        return len(self._live)

    def start(self) -> None:
        """Start the clocks."""
        for continuation in self.continuations:
            continuation.start()

    def advance(self, logits: Sequence[LogitRow]) -> list[Move]:
        """Each live continuation draws from its row (all from the first row after the prompt) or drops out."""
        shared = len(logits) == 1
        moves = []
        for row, continuation in enumerate(self._live):
            source = 0 if shared else row
            continuation.accept(logits[source])
            if continuation.finish_reason is None:
                moves.append(Move(source, continuation.new_ids[-1]))
        self._live = [c for c in self._live if c.finish_reason is None]
        return moves

    def tail(self, row: int, count: int) -> Sequence[int]:
        """Last ``count`` ids of the row's continuation."""
        return self._live[row].tail(count)

    def finish(self, reason: FinishReason, error: LLMBuilderError | None = None) -> None:
        """End all live continuations; one whose text cannot be finished ends the group with its error."""
        self.error = error
        for continuation in self._live:
            try:
                continuation.finish(reason)
            except LLMBuilderError as failure:  # such as a tokenizer's
                self.error = self.error or failure
        self._live = []

    def pieces(self) -> list[Piece]:
        """What came of each continuation since the last call."""
        told = (continuation.piece(number) for number, continuation in enumerate(self.continuations))
        return [piece for piece in told if piece is not None]

    def completions(self) -> list[Completion]:
        """One for each continuation, in order; raises the error that ended the group."""
        if self.error is not None:
            raise self.error
        return [continuation.completion() for continuation in self.continuations]
