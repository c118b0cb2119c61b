"""Rows that are computed together: one run of the graph steps all that are ready.

A prompt, and the text of a row whose window is full, is computed by itself, in chunks between the steps of the others.
It stands behind all rows that may step, where neither steps nor copies write, and joins them when it is whole. Prompts
one by one and steps together is what makes a row's numbers independent of its neighbours: the kernels of a one-token
step treat every row of a batch alike, bit for bit.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmbuilder import logs
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.remote import LogitRow
from llmbuilder.decoding.rows import LEAST_CHUNK, Filling, RowDecoder
from llmbuilder.decoding.slots import plan_slots
from llmbuilder.errors import ContextOverflowError, LLMBuilderError

_LOG = logs.logger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    """A group with its place in the batch: the slot and the next token of each of its rows."""

    group: Group
    slots: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """None before the prompt is computed."""
    texts: deque[Sequence[int]] = field(default_factory=deque)
    """What its rows must hold before they can step, each with a slot of its own."""
    filling: Filling | None = None
    """The first of these texts, under way."""

    @property
    def left(self) -> list[int]:
        """Tokens left of each of these texts."""
        done = 0 if self.filling is None else self.filling.done
        return [len(text) - done * (number == 0) for number, text in enumerate(self.texts)]


class Batch:
    """Groups that share the runs of one decoder."""

    def __init__(self, decoder: RowDecoder) -> None:
        """Compute with ``decoder``, whose rows are this batch's alone."""
        self.decoder = decoder
        self._stepping: list[_Entry] = []
        self._filling: deque[_Entry] = deque()
        self._rows = 0
        """Rows that step, as they stood when they were last placed."""

    @property
    def groups(self) -> list[Group]:
        """Those that are not done."""
        return [entry.group for entry in (*self._stepping, *self._filling)]

    @property
    def is_empty(self) -> bool:
        """Whether all groups are done."""
        return not (self._stepping or self._filling)

    @property
    def is_filling(self) -> bool:
        """Whether texts wait to be computed."""
        return bool(self._filling)

    @property
    def texts(self) -> list[int]:
        """Tokens left of each text that waits, in the order in which they are computed."""
        return [left for entry in self._filling for left in entry.left]

    def add(self, group: Group) -> None:
        """Take a group in, whose prompt is computed in its turn."""
        self._filling.append(_Entry(group, texts=deque([group.prompt.ids])))

    def drop(self, group: Group) -> list[Group]:
        """Forget a group that has ended; return those that end with an error because the others cannot move up."""
        self._filling = deque(entry for entry in self._filling if entry.group is not group)
        self._stepping = [entry for entry in self._stepping if entry.group is not group]
        return self._settle()

    def fill(self, most: int) -> list[Group]:
        """Compute about ``most`` tokens of what waits; return the groups that got their first tokens, or an error."""
        changed = []
        while self._filling and most >= LEAST_CHUNK:
            entry = self._filling[0]
            is_new = not entry.tokens
            most -= self._fill(entry, most)
            if entry.texts:
                continue
            self._filling.popleft()
            if is_new or entry.group.error is not None:
                changed.append(entry.group)
                self._place(entry, self.decoder.lengths)
            else:
                self._stepping.append(entry)  # there is room again for the tokens that it has chosen
            changed += [group for group in self._settle() if group not in changed]
        return changed

    def step(self) -> list[Group]:
        """Compute one token for every row that is ready; return the groups that advanced."""
        entries, self._stepping = self._stepping, []
        try:
            if entries and not self._speculate(entries):
                self._step(entries)
        except LLMBuilderError as error:
            for entry in entries:
                _end(entry, error)
        lengths = self.decoder.lengths
        for entry in entries:
            self._place(entry, lengths)
        self._settle()
        return [entry.group for entry in entries]

    def _fill(self, entry: _Entry, most: int) -> int:
        """Compute a chunk of an entry's first text; return its number of tokens."""
        try:
            filling = entry.filling or self._begin(entry)
            computed = 0 if filling.finished else filling.advance(most)
        except LLMBuilderError as error:
            _end(entry, error)
            return 0
        entry.filling = filling
        if filling.finished:
            entry.filling = None
            entry.texts.popleft()
            entry.slots.append(filling.row)
            if not entry.tokens:
                assert filling.logits is not None  # noqa: S101 (prompts are not empty)
                _advance(entry, [filling.logits])
        return computed

    def _begin(self, entry: _Entry) -> Filling:
        """Give a text a slot behind all rows that may step. Nobody joins those before it is whole."""
        if not entry.tokens:
            entry.group.start()
        behind = sum(other.group.width for other in self._stepping)
        slot = entry.slots[-1] + 1 if entry.slots else behind
        return self.decoder.begin(slot, entry.texts[0])

    def _step(self, entries: Sequence[_Entry]) -> None:
        tokens = [0] * self._rows
        for entry in entries:
            for slot, token in zip(entry.slots, entry.tokens, strict=True):
                tokens[slot] = token
        logits = self.decoder.step(tokens)
        for entry in entries:
            _advance(entry, [logits[slot] for slot in entry.slots])

    def _speculate(self, entries: Sequence[_Entry]) -> bool:
        """Compute a lone row's next token and a guess of those after it in one run; keep what the group confirms."""
        entry = entries[0]
        if len(entries) > 1 or not entry.group.speculates:
            return False
        before = self.decoder.lengths[0]
        room = entry.group.prompt.context_length - before - 1
        if room < 1 or not (draft := entry.group.draft(room)):
            return False
        logits = self.decoder.prefill(0, [*entry.tokens, *draft], keep=1 + len(draft))
        for confirmed, guess in enumerate((*draft, None)):
            _advance(entry, [logits[confirmed]])
            if entry.tokens != [guess]:
                self.decoder.truncate(0, before + 1 + confirmed)
                break
        return True

    def _place(self, entry: _Entry, lengths: Sequence[int]) -> None:
        """Put an entry that has chosen where it belongs: done, stepping, or waiting for rows with room."""
        if not entry.slots:
            return
        prompt = entry.group.prompt
        length = lengths[entry.slots[0]]
        full = length >= prompt.context_length
        if full and prompt.config.context_overflow != "slide":
            _end_at_window(entry.group)
        elif full or not prompt.config.use_cache:
            self._refill(entry, length)
        else:
            self._stepping.append(entry)

    def _refill(self, entry: _Entry, length: int) -> None:
        """Have the last part of each row's text computed again, all but the token that the coming step adds.

        Learned positions cannot slide: a full window begins anew with its last three quarters. Without a cache every
        token follows from the last window.
        """
        prompt = entry.group.prompt
        window = prompt.context_length
        keep = window - max(1, window // 4) if prompt.config.use_cache else min(length + 1, window)
        if prompt.config.use_cache:
            _LOG.info("the window of %d tokens is full: a text goes on with its last %d", window, keep)
        rows = range(len(entry.slots))
        entry.texts = deque(entry.group.tail(row, keep)[:-1] if keep > 1 else () for row in rows)
        entry.slots = []
        self._filling.append(entry)

    def _settle(self) -> list[Group]:
        """Give the rows that step the first slots, copying as few as possible, and empty those of rows that ended.

        Returns:
            The groups for whose rows there is no room, and which end for that: the last that came, as few as need be.
        """
        failed: list[Group] = []
        while sorted(taken := self._taken()) != list(range(self._rows)):
            try:
                self._move_up(taken)
            except LLMBuilderError as error:
                # Copies read no slot that they write: all rows stand where they stood.
                entry = self._stepping.pop()
                _end(entry, error)
                failed.append(entry.group)
        if failed:
            self._empty_unused()
        return failed

    def _taken(self) -> list[int]:
        """Slots of the rows that step."""
        return [slot for entry in self._stepping for slot in entry.slots]

    def _move_up(self, taken: Sequence[int]) -> None:
        slots, copies = plan_slots(taken)
        for source, target in sorted(copies, key=lambda copy: -copy[1]):  # what may need memory comes first
            self.decoder.copy(source, target)
        placed = iter(slots)
        for entry in self._stepping:
            entry.slots = [next(placed) for _ in entry.slots]
        self._rows = len(taken)
        self._empty_unused()

    def _empty_unused(self) -> None:
        used = {slot for entry in (*self._stepping, *self._filling) for slot in entry.slots}
        used |= {entry.filling.row for entry in self._filling if entry.filling is not None}
        for slot, length in enumerate(self.decoder.lengths):
            if length and slot not in used:
                self.decoder.truncate(slot, 0)


def _advance(entry: _Entry, logits: Sequence[LogitRow]) -> None:
    """Let the group choose; one that cannot ends with its error and leaves its neighbours alone."""
    try:
        moves = entry.group.advance(logits)
    except LLMBuilderError as error:
        _end(entry, error)
        return
    entry.slots = [entry.slots[move.source] for move in moves]
    entry.tokens = [move.token for move in moves]


def _end(entry: _Entry, error: LLMBuilderError) -> None:
    entry.group.finish("cancelled", error)
    entry.slots, entry.texts = [], deque()


def _end_at_window(group: Group) -> None:
    window = group.prompt.context_length
    error = None
    if group.prompt.config.context_overflow == "error":
        error = ContextOverflowError(
            f"The text has reached the model's window of {window} tokens. Ask for fewer tokens, or set "
            "context_overflow='slide' (go on with the last part) or 'stop' (end there)."
        )
    group.finish("length", error)
