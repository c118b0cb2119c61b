"""Conversations in which functions were called: messages as chat templates want them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmbuilder.chat.forms import Form, TemplateForm
from llmbuilder.chat.template import Message
from llmbuilder.checks import check_text, shown
from llmbuilder_server.conversations import SYSTEM, text_of
from llmbuilder_server.errors import ApiError
from llmbuilder_server.tools.request import Tool
from llmbuilder_server.tools.values import check_depth

_NEXT = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "tool": ("user", "assistant"),
}
"""Whose message may follow whose."""


class SaidWithTools(NamedTuple):
    """A conversation up to where the assistant answers, with what it may call."""

    messages: list[Message]
    tools: list[Mapping[str, Any]]

    @property
    def text(self) -> str:
        """What is said."""
        calls = [call["function"] for message in self.messages for call in message.get("tool_calls", ())]
        return "".join(
            [
                *(message["content"] for message in self.messages),
                *(json.dumps(call["arguments"], ensure_ascii=False) for call in calls),
            ]
        )

    def encode(self, form: Form) -> list[int]:
        """The prompt in a model's form, which is a template's."""
        assert isinstance(form, TemplateForm)  # noqa: S101 (others have no tools)
        return form.encode_messages(self.messages, self.tools)


def has_calls(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something was called in a conversation."""
    return any(message.get("role") == "tool" or message.get("tool_calls") for message in messages)


def read_called(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> SaidWithTools:
    """Check a conversation with calls; nothing of it is left out.

    Raises:
        ApiError: messages in another order than a user's, an assistant's, and results of all that it called, after a
            system message, which is optional; content that is no text; arguments that are no object.
        ConfigError: a text with half a character.
    """
    reader = _Reader()
    for number, message in enumerate(messages):
        reader.read(f"messages.{number}", message)
    if reader.last not in ("user", "tool") or reader.open:
        raise ApiError(
            400,
            "messages must end with the user's, or with the results of all that the assistant has called.",
            param="messages",
        )
    return SaidWithTools(reader.messages, [tool.shown for tool in tools])


class _Reader:
    """Reads a conversation message by message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.last = ""
        self.open: dict[str, str] = {}
        """Names of what is called and has no result yet, by the ids of the calls."""

    def read(self, place: str, message: Mapping[str, Any]) -> None:
        role = "system" if message.get("role") in SYSTEM else message.get("role")
        expected = ("tool",) if self.open else _NEXT[self.last]
        if role not in expected:
            raise ApiError(
                400,
                f"{place}: the role must be {' or '.join(expected)} here, got {shown(role)}.",
                param=place,
            )
        self.last = str(role)
        self.messages.append(self._told(place, message))

    def _told(self, place: str, message: Mapping[str, Any]) -> Message:
        if self.last == "tool":
            called = message.get("tool_call_id")
            name = self.open.pop(called, None) if isinstance(called, str) else None
            if name is None:
                raise ApiError(
                    400,
                    f"{place}: tool_call_id must be that of a call before it that has no result yet, "
                    f"got {shown(called)}.",
                    param=f"{place}.tool_call_id",
                )
            return {"role": "tool", "name": name, "tool_call_id": called, "content": text_of(place, message)}
        if self.last != "assistant" or not message.get("tool_calls"):
            return {"role": self.last, "content": text_of(place, message)}
        calls = _calls(f"{place}.tool_calls", message["tool_calls"])
        self.open = {call["id"]: call["function"]["name"] for call in calls}
        content = "" if message.get("content") is None else text_of(place, message)
        return {"role": "assistant", "content": content, "tool_calls": calls}


def _calls(place: str, given: Any) -> list[dict[str, Any]]:
    calls = [_call(f"{place}.{number}", call) for number, call in enumerate(_listed(place, given))]
    if len({call["id"] for call in calls}) < len(calls):
        raise ApiError(400, f"{place}: two calls have the same id. Give each its own.", param=place)
    return calls


def _listed(place: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ApiError(400, f"{place} must be a list of calls, got {shown(given)}.", param=place)
    return given


def _call(place: str, given: Any) -> dict[str, Any]:
    function = given.get("function") if isinstance(given, Mapping) else None
    facts = (given.get("id"), function.get("name")) if isinstance(function, Mapping) else ()
    if not isinstance(function, Mapping) or not all(isinstance(fact, str) for fact in facts):
        raise ApiError(
            400,
            f'{place} must be {{"id": ..., "type": "function", "function": {{"name": ..., "arguments": "{{...}}"}}}}, '
            f"got {shown(given)}.",
            param=place,
        )
    identity, name = (check_text(place, fact) for fact in facts)
    arguments = _arguments(f"{place}.function.arguments", function.get("arguments"))
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(place: str, given: Any) -> dict[str, Any]:
    """Clients send a text, templates want the object."""
    try:
        arguments = json.loads(given or "{}") if isinstance(given, str | None) else given
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise ApiError(400, f"{place} must be an object of JSON as a text, got {shown(given)}.", param=place)
    check_depth(place, arguments)
    check_text(place, json.dumps(arguments, ensure_ascii=False))
    return arguments
