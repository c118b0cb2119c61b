"""Calls found in an answer, as it comes."""

import re
from collections.abc import Callable
from typing import NamedTuple

from llmbuilder_server.tools.forms import CallForm
from llmbuilder_server.tools.objects import ObjectEnd


class Said(NamedTuple):
    """Text that is no call."""

    text: str


class Called(NamedTuple):
    """A call begins; its number, from 0."""

    number: int
    name: str


class Argued(NamedTuple):
    """More of a call's arguments."""

    number: int
    text: str


Event = Said | Called | Argued
_Reading = Callable[[list[Event]], bool]
"""Reads on from one place of an answer; whether another one is reached."""


class CallReader:
    """Takes an answer apart that the grammar of its calls has constrained."""

    def __init__(self, form: CallForm) -> None:
        """Begin with nothing said."""
        self._form = form
        self._head = re.compile(rf"{re.escape(form.before)}([\w-]+){re.escape(form.between)}")
        self._place: _Reading = self._read_text
        self._end = ObjectEnd()
        self._held = ""
        self._said = False
        self.calls = 0
        """Calls that have begun."""

    @property
    def is_complete(self) -> bool:
        """Whether the last call, if there is one, is at its end."""
        return self._place == self._read_text and not (self.calls and self._held.strip())

    def feed(self, text: str) -> list[Event]:
        """What more of the answer tells."""
        events: list[Event] = []
        self._held += text
        while self._held and self._place(events):
            pass
        return events

    def finish(self) -> list[Event]:
        """What was held back, in case that it became a call; what is cut off in a later call's head is none."""
        if self.calls or not self._held:
            return []
        mark = "" if self._place == self._read_text else self._form.mark
        return [Said(mark + self._held)]

    def _read_text(self, events: list[Event]) -> bool:
        before, mark, after = self._held.partition(self._form.mark)
        if mark and (self._form.is_anywhere or not (before or self._said)):
            self._say(before.rstrip(), events)
            self._held, self._place, self._end = after, self._read_head, ObjectEnd()
            return True
        certain = self._certain(self._held)
        self._say(self._held[:certain], events)
        self._held = self._held[certain:]
        return False

    def _certain(self, text: str) -> int:
        """How much of a text is neither part of a mark nor of white space that may stand before one."""
        mark = self._form.mark
        if not self._form.is_anywhere:
            return 0 if mark.startswith(text) and not self._said else len(text)
        overlap = next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)
        return len(text[: len(text) - overlap].rstrip())

    def _read_head(self, events: list[Event]) -> bool:
        head = self._head.match(self._held)
        if head is None:
            return False
        events.append(Called(self.calls, head[1]))
        self.calls += 1
        self._held, self._place = self._held[head.end() :], self._read_arguments
        return True

    def _read_arguments(self, events: list[Event]) -> bool:
        length = self._end.find(self._held)
        events.append(Argued(self.calls - 1, self._held[:length]))
        self._held = self._held[length:]
        if self._end.is_reached:
            self._place = self._read_after
        return self._end.is_reached

    def _read_after(self, events: list[Event]) -> bool:  # noqa: ARG002 (as the others)
        if not self._held.startswith(self._form.after):
            return False
        self._held, self._place = self._held[len(self._form.after) :], self._read_text
        return True

    def _say(self, text: str, events: list[Event]) -> None:
        if text and not self.calls:
            self._said = True
            events.append(Said(text))
