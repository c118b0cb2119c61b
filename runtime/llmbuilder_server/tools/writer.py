"""Choices of chats that may hold calls, as OpenAI's API has them."""

import uuid
from collections.abc import Iterable
from typing import Any

from llmbuilder.decoding.completion import Completion, FinishReason
from llmbuilder_server.answers import REASONS
from llmbuilder_server.generating import Writer
from llmbuilder_server.jobs import Part
from llmbuilder_server.tools.forms import CallForm
from llmbuilder_server.tools.reader import Argued, Called, CallReader, Event, Said

_CALLED = "tool_calls"


class CallWriter:
    """Choices of chats whose texts may hold calls of one form."""

    def __init__(self, chats: Writer, form: CallForm) -> None:
        """Write what ``chats`` writes, with the calls taken out of the text."""
        self._chats = chats
        self._form = form
        self._readers: dict[int, CallReader] = {}

    def whole(self, index: int, prompt: str, completion: Completion) -> dict[str, Any]:
        """A reply, or calls."""
        reader = CallReader(self._form)
        events = [*reader.feed(completion.text), *reader.finish()]
        choice = self._chats.whole(index, prompt, completion)
        choice["message"] |= _message(events)
        return choice | {"finish_reason": _reason(reader, completion.finish_reason)}

    def first(self, choices: int) -> list[dict[str, Any]]:
        """Who speaks."""
        return self._chats.first(choices)

    def part(self, part: Part) -> dict[str, Any]:
        """A part of a reply, or of calls."""
        reader = self._readers.setdefault(part.number, CallReader(self._form))
        events = reader.feed(part.text)
        reason = None
        if part.finish_reason is not None:
            events += reader.finish()
            reason = _reason(reader, part.finish_reason)
        return self._chats.part(part) | {"delta": _delta(events), "finish_reason": reason}


def _reason(reader: CallReader, reason: FinishReason) -> str:
    """A call that something has cut off is none that a client should follow."""
    return _CALLED if reader.calls and reader.is_complete else REASONS[reason]


def _message(events: Iterable[Event]) -> dict[str, Any]:
    found = _delta(events)
    calls = [
        {name: value for name, value in call.items() if name != "index"} for call in found.get(_CALLED, ())
    ]
    return {"content": found.get("content") if calls else found.get("content", "")} | (
        {_CALLED: calls} if calls else {}
    )


def _delta(events: Iterable[Event]) -> dict[str, Any]:
    """What some events add to a message."""
    said = ""
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, Said):
            said += event.text
        elif isinstance(event, Called):
            calls[event.number] = _begun(event)
        else:
            _add(calls, event)
    return ({"content": said} if said else {}) | ({_CALLED: list(calls.values())} if calls else {})


def _begun(event: Called) -> dict[str, Any]:
    function = {"name": event.name, "arguments": ""}
    return {"index": event.number, "id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def _add(calls: dict[int, dict[str, Any]], event: Argued) -> None:
    call = calls.setdefault(event.number, {"index": event.number, "function": {"arguments": ""}})
    call["function"]["arguments"] += event.text
