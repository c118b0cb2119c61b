"""The loop: prompts in, tokens out, for any number of rows, fed while it runs. It speaks token ids only.

A `Group` is one prompt with the rows its strategy needs. Groups wait in the order in which they come, join a `Batch` as
rows and memory come free, and decide; the batch computes. A turn of the loop is

1. admit: let those who wait join, while there is room;
2. fill: compute a chunk of the prompts that have joined;
3. step: one token for every row that is ready.

Two kinds of groups compute in runs of their own, one of them a turn, between those of the others: groups that guess
tokens, whose chunks belong to one row, and groups of more rows than ``max_rows``, one such group at a time. So they
neither wait for the others nor hold them up, and their text is that of the group alone.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Protocol

from llmbuilder.decoding.batch import Batch
from llmbuilder.decoding.group import Group, most_tokens
from llmbuilder.decoding.rows import RowDecoder
from llmbuilder.errors import ConfigError, LLMBuilderError


class OpenDecoder(Protocol):
    """What makes decoders, such as a model's ``decoder``."""

    def __call__(self, *, rows: int, capacity: int, max_rows: int) -> RowDecoder:
        """Start a computation with room for ``rows`` of ``capacity`` tokens.

        Both grow by themselves; there will never be more than ``max_rows``, which may decide how steps are computed.
        """
        ...


Waiting = deque[tuple[int, Group]]
"""Groups that wait, each with its number in the order of arrival."""
_Work = Callable[[], list[Group]]


class Loop:
    """Decodes groups that come and go, a turn at a time. All calls come from one thread."""

    def __init__(
        self,
        open_decoder: OpenDecoder,
        *,
        max_rows: int,
        rows: int = 1,
        capacity: int = 256,
        chunk: int | None = None,
    ) -> None:
        """Begin with nothing to do.

        Args:
            open_decoder: makes the decoders.
            max_rows: most rows that share a run.
            rows: rows to make room for at first.
            capacity: tokens of each to make room for at first.
            chunk: see the attribute of this name; None: as many as the decoder computes at once.
        """
        self._open = open_decoder
        self._max_rows = max_rows
        self._common = Batch(open_decoder(rows=rows, capacity=capacity, max_rows=max_rows))
        self.chunk = chunk or self.largest_chunk
        """Tokens of prompts computed between two steps, at least 2: how long prompts can hold up everything else.
        It may change: no bit of a result does."""
        self._speculating: list[Batch] = []
        self._wide: list[Batch] = []
        self._waiting: tuple[Waiting, Waiting] = (deque(), deque())
        """Those that share rows, and those that are wider than all rows."""
        self._numbers = count()
        self._turn: deque[_Work] = deque()
        self._ended: list[Group] = []

    @property
    def largest_chunk(self) -> int:
        """Tokens of a prompt that are computed at once at most."""
        return self._common.decoder.prefill_chunk

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do and nothing to tell."""
        if self._ended or not self._common.is_empty or any(self._waiting):
            return False
        return all(batch.is_empty for batch in (*self._speculating, *self._wide))

    @property
    def has_room(self) -> bool:
        """Whether another group could join at once."""
        return not any(self._waiting) and self.rows < self._max_rows

    @property
    def waiting(self) -> list[Group]:
        """Groups that have not joined yet."""
        return [group for queue in self._waiting for _, group in queue]

    @property
    def rows(self) -> int:
        """Rows of those who have joined, without those of a group that is wider than all."""
        batches = [self._common, *self._speculating]
        return sum(group.width for batch in batches for group in batch.groups)

    @property
    def texts(self) -> list[int]:
        """Tokens of each text that is still to be computed in the rows that are shared, in order."""
        return self._common.texts

    def add(self, group: Group) -> None:
        """Let a group join as soon as there is room."""
        self._waiting[group.width > self._max_rows].append((next(self._numbers), group))

    def admit(self) -> None:
        """Let groups that wait join, in the order in which they came. Every turn begins with it.

        One that waits for rows lets the other kind pass, because they wait for different ones. One that waits for
        memory lets nobody pass, or it might wait for ever.
        """
        queues = list(self._waiting)
        while queues := [queue for queue in queues if queue]:
            queue = min(queues, key=lambda queue: queue[0])
            _, group = queue[0]
            if not self._has_rows(group):
                queues = [other for other in queues if other is not queue]
            elif self._has_memory(group):
                queue.popleft()
                self._join(group)
            elif self._groups:
                return
            else:
                queue.popleft()
                self._refuse(group, _too_large(group, self._common.decoder.budget))

    def cancel(self, group: Group) -> None:
        """End a group as it is, wherever it stands; one that is done already stays as it is."""
        if group.width == 0:
            return
        group.finish("cancelled")
        shared, wide = (deque(w for w in queue if w[1] is not group) for queue in self._waiting)
        self._waiting = shared, wide
        for batch in self._batches:
            self._ended += batch.drop(group)
        self._ended.append(group)

    def advance(self) -> list[Group]:
        """Do the next bit of work, a run of the graph or so; return the groups that it gave tokens or an end."""
        if not self._turn:
            self._begin_turn()
        changed = self._take_ended()
        while self._turn and not changed:
            changed = self._turn.popleft()()
        return changed

    @property
    def _batches(self) -> list[Batch]:
        return [self._common, *self._speculating, *self._wide]

    @property
    def _groups(self) -> list[Group]:
        return [group for batch in self._batches for group in batch.groups]

    def _begin_turn(self) -> None:
        if self._speculating or self._wide:
            self._drop_empty()
        if any(self._waiting):
            self.admit()
        for batch in self._batches:
            if batch.is_filling:
                self._turn.append(partial(batch.fill, self.chunk))
            self._turn.append(batch.step)

    def _drop_empty(self) -> None:
        self._speculating = [batch for batch in self._speculating if not batch.is_empty]
        self._wide = [batch for batch in self._wide if not batch.is_empty]

    def _take_ended(self) -> list[Group]:
        ended, self._ended = self._ended, []
        return ended

    def _refuse(self, group: Group, error: LLMBuilderError) -> None:
        group.finish("cancelled", error)
        self._ended.append(group)

    def _has_rows(self, group: Group) -> bool:
        if group.width > self._max_rows:
            return not self._wide
        return self.rows + group.width <= self._max_rows

    def _has_memory(self, group: Group) -> bool:
        taken = sum(most_tokens(other) for other in self._groups)
        return taken + most_tokens(group) <= self._common.decoder.budget

    def _join(self, group: Group) -> None:
        kind = self._wide if group.width > self._max_rows else self._speculating if group.speculates else None
        if kind is None:
            self._common.add(group)
            return
        try:
            capacity = len(group.prompt.ids) + 1
            batch = Batch(self._open(rows=group.width, capacity=capacity, max_rows=group.width))
        except LLMBuilderError as error:
            self._refuse(group, error)
            return
        batch.add(group)
        kind.append(batch)


def _too_large(group: Group, budget: int) -> ConfigError:
    return ConfigError(
        f"This prompt may need {most_tokens(group)} tokens of KV cache ({group.width} rows), but there is memory for "
        f"{budget}. Lower max_new_tokens, num_beams or num_return_sequences, or shorten the prompt."
    )
