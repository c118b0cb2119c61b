"""A loop run to its end: for all of some groups, for each as it is done, or for the text of one as it comes."""

import time
from collections.abc import Iterator, Sequence

from llmbuilder.decoding.completion import Completion
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.loop import Loop, OpenDecoder
from llmbuilder.errors import LLMBuilderError

Answer = list[Completion] | LLMBuilderError
"""What comes of a prompt: its completions, or what ended it."""

_FIRST_CAPACITY = 256
_PATIENCE = 0.001
"""Seconds before a source that has nothing at the moment is asked again, if nothing runs."""


def open_loop(open_decoder: OpenDecoder, groups: Sequence[Group], max_rows: int) -> Loop:
    """A loop with room for ``groups``, which join it at once."""
    longest = max(
        (len(g.prompt.ids) + min(g.prompt.max_new_tokens, _FIRST_CAPACITY) for g in groups), default=1
    )
    rows = min(max_rows, sum(group.width for group in groups))
    loop = Loop(open_decoder, max_rows=max_rows, rows=max(rows, 1), capacity=longest)
    for group in groups:
        loop.add(group)
    return loop


def completed(group: Group) -> Completion | None:
    """The completion of a group with one sequence; None where it has not ended by itself."""
    return group.completions()[0] if group.width == 0 and group.error is None else None


def finish_all(loop: Loop, groups: Sequence[Group]) -> list[list[Completion]]:
    """Completions of each group of a loop; the first error ends all."""
    while not loop.idle:
        for group in loop.advance():
            if group.error is not None:
                raise group.error
    return [group.completions() for group in groups]


def finish_each(loop: Loop, source: Iterator[Group | LLMBuilderError | None]) -> Iterator[tuple[int, Answer]]:
    """Number, from 0, and answer of each group of a source, as they are done.

    The source is read no faster than rows come free. An error takes the place of a group that could not be made; None
    says that there is nothing at the moment.
    """
    numbers: dict[int, int] = {}
    read, more = 0, True
    while more or not loop.idle:
        while more and loop.has_room:
            try:
                group = next(source)
            except StopIteration:
                more = False
                break
            if group is None:
                time.sleep(_PATIENCE if loop.idle else 0)
                break
            if isinstance(group, LLMBuilderError):
                yield read, group
            else:
                numbers[id(group)] = read
                loop.add(group)
            read += 1
        for group in loop.advance():
            if group.width == 0:
                yield numbers.pop(id(group)), group.error or group.completions()


def stream(loop: Loop, group: Group) -> Iterator[str]:
    """The text of a loop's only group as it becomes certain, after its prompt if the options say so.

    Raises:
        LLMBuilderError: what ended the group, after the text it had.
    """
    if group.prompt.config.return_full_text:
        yield group.prompt.text
    while not loop.idle:
        loop.advance()
        for piece in group.pieces():
            if piece.text:
                yield piece.text
    if group.error is not None:
        raise group.error
