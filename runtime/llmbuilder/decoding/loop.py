"""The loop: prompts in, tokens out, for any number of rows. It speaks token ids only.

A `Group` is one prompt with the rows its strategy needs: independent samples here, hypotheses for a beam search.
Groups wait in an iterator, take rows as they come free, and decide; the loop computes and moves:

1. admit: while there is room, prefill the next group's prompt, by itself, in a row of its own;
2. step: one token for every live row, in one run of the graph;
3. advance: every group says which of its rows go on, and with which token;
4. move: rows are placed anew, copying only the cache rows that must move.

Prompts are computed one by one and steps together because that makes a row's numbers independent of its neighbours:
the kernels of a one-token step treat every row of a batch alike, bit for bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.group import Group, Move
from llmbuilder.decoding.rows import RowDecoder
from llmbuilder.decoding.slots import plan_slots
from llmbuilder.errors import ContextOverflowError, LLMBuilderError


@dataclass(slots=True)
class _Live:
    """A group with its place in the batch: the slot and the next token of each of its rows."""

    group: Group
    slots: list[int]
    tokens: list[int]


def decode(decoder: RowDecoder, groups: Iterable[Group], *, max_rows: int) -> Iterator[Group]:
    """Run groups to their ends; yield a group whenever it has advanced.

    At most ``max_rows`` rows are live at once, unless one group alone needs more. Closing the iterator stops the work.
    """
    waiting = iter(groups)
    upcoming = next(waiting, None)
    live: list[_Live] = []
    while upcoming is not None or live:
        while upcoming is not None and (not live or _reserved(live) + upcoming.width <= max_rows):
            admitted = _admit(decoder, upcoming, _rows(live))
            live.append(admitted)
            yield admitted.group
            live = _rearrange(decoder, live)
            upcoming = next(waiting, None)
        if ended := _refill(decoder, live):
            yield from ended
            live = _rearrange(decoder, live)
        if live:
            if not _speculate(decoder, live):
                _step(decoder, live)
            for entry in live:
                yield entry.group
            live = _rearrange(decoder, live)


def _rows(live: list[_Live]) -> int:
    return sum(len(entry.slots) for entry in live)


def _reserved(live: list[_Live]) -> int:
    return sum(entry.group.width for entry in live)


def _admit(decoder: RowDecoder, group: Group, slot: int) -> _Live:
    """Compute a group's prompt in a free slot and let the group choose its first tokens."""
    group.start()
    decoder.truncate(slot, 0)
    logits = decoder.prefill(slot, group.prompt.ids)
    moves = _advance(group, [logits[-1]])
    return _Live(group, [slot] * len(moves), [move.token for move in moves])


def _advance(group: Group, logits: Sequence[FloatArray]) -> list[Move]:
    """Let a group choose; one that cannot ends with its error and leaves its neighbours alone."""
    try:
        return group.advance(logits)
    except LLMBuilderError as error:
        group.finish("cancelled", error)
        return []


def _step(decoder: RowDecoder, live: list[_Live]) -> None:
    """Compute one token for every live row and let every group decide."""
    tokens = [0] * _rows(live)
    for entry in live:
        for slot, token in zip(entry.slots, entry.tokens, strict=True):
            tokens[slot] = token
    logits = decoder.step(tokens)
    for entry in live:
        moves = _advance(entry.group, [logits[slot] for slot in entry.slots])
        entry.slots = [entry.slots[move.source] for move in moves]
        entry.tokens = [move.token for move in moves]


def _speculate(decoder: RowDecoder, live: list[_Live]) -> bool:
    """Compute a lone row's next token and a guess of those after it in one run; keep what the sampler confirms."""
    entry = live[0]
    room = entry.group.prompt.context_length - decoder.lengths[0] - 1
    if len(live) > 1 or room < 1 or not (draft := entry.group.draft(room)):
        return False
    before = decoder.lengths[0]
    logits = decoder.prefill(0, [*entry.tokens, *draft], keep=1 + len(draft))
    for confirmed, guess in enumerate((*draft, None)):
        moves = _advance(entry.group, [logits[confirmed]])
        entry.slots, entry.tokens = [0] * len(moves), [move.token for move in moves]
        if entry.tokens != [guess]:
            decoder.truncate(0, before + 1 + confirmed)
            break
    return True


def _rearrange(decoder: RowDecoder, live: list[_Live]) -> list[_Live]:
    """Give the rows that go on the first slots, copying as few as possible; forget groups that are done."""
    live = [entry for entry in live if entry.slots]
    taken = [slot for entry in live for slot in entry.slots]
    if taken == list(range(len(taken))):
        return live
    slots, copies = plan_slots(taken)
    for source, target in copies:
        decoder.copy(source, target)
    placed = iter(slots)
    for entry in live:
        entry.slots = [next(placed) for _ in entry.slots]
    return live


def _refill(decoder: RowDecoder, live: list[_Live]) -> list[Group]:
    """Make room in rows whose window is full, and recompute those that are to use no cache.

    Learned positions cannot slide: the last part of the text is computed again from position 0, all but its last
    token, which the coming step adds.

    Returns:
        The groups that end because their window is full.
    """
    ended = []
    for entry in live:
        prompt = entry.group.prompt
        window = prompt.context_length
        full = decoder.lengths[entry.slots[0]] >= window
        if full and prompt.config.context_overflow != "slide":
            _end_at_window(entry, window)
            ended.append(entry.group)
            continue
        if prompt.config.use_cache and not full:
            continue
        for row, slot in enumerate(entry.slots):
            known = decoder.lengths[slot] + 1
            keep = min(known, window) if not prompt.config.use_cache else window - max(1, window // 4)
            decoder.truncate(slot, 0)
            if keep > 1:
                decoder.prefill(slot, entry.group.tail(row, keep)[:-1])
    return ended


def _end_at_window(entry: _Live, window: int) -> None:
    error = None
    if entry.group.prompt.config.context_overflow == "error":
        error = ContextOverflowError(
            f"The text has reached the model's window of {window} tokens. Ask for fewer tokens, or set "
            "context_overflow='slide' (go on with the last part) or 'stop' (end there)."
        )
    entry.group.finish("length", error)
    entry.slots, entry.tokens = [], []
