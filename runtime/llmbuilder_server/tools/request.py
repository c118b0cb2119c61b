"""``tools``, ``tool_choice`` and ``parallel_tool_calls``: what a request says that the model may call."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmbuilder.checks import check_text, shown
from llmbuilder_server.bodies import ChatBody
from llmbuilder_server.errors import ApiError
from llmbuilder_server.settings import Settings
from llmbuilder_server.tools.values import check_depth

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_CHOICES = 'tool_choice must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}'


class Tool(NamedTuple):
    """A function that may be called."""

    name: str
    schema: Mapping[str, Any]
    """Of its arguments."""
    shown: Mapping[str, Any]
    """As the chat template gets it."""


class Calling(NamedTuple):
    """What a request lets the model call."""

    tools: tuple[Tool, ...]
    """All that the model is told of."""
    allowed: tuple[Tool, ...]
    """Those that it may call."""
    is_required: bool
    is_several: bool

    @property
    def written(self) -> str:
        """All that decides which calls there may be, as a text."""
        allowed = [[tool.name, tool.schema] for tool in self.allowed]
        return json.dumps([allowed, self.is_required, self.is_several])


def read_tools(body: ChatBody, settings: Settings) -> Calling | None:
    """What may be called; None if nothing.

    Raises:
        ApiError: tools that are too many, too large, or wrong; a choice that is not among them.
        ConfigError: a text with half a character.
    """
    choice = body.tool_choice
    if not body.tools and choice not in (None, "none", "auto"):
        raise ApiError(400, "tool_choice needs tools to choose from. Give tools.", param="tool_choice")
    tools = _tools(body.tools or (), settings)
    allowed = _allowed(choice, tools)
    if not allowed:
        return None
    _check_format(body.response_format)
    is_named = isinstance(choice, Mapping)
    is_several = body.parallel_tool_calls is not False and not is_named
    return Calling(tools, allowed, is_named or choice == "required", is_several)


def _tools(given: Sequence[Any], settings: Settings) -> tuple[Tool, ...]:
    if len(given) > settings.max_tools:
        raise ApiError(
            400, f"tools may be {settings.max_tools} functions, got {len(given)}. Give fewer.", param="tools"
        )
    check_depth("tools", given)
    if len(json.dumps(given)) > settings.max_schema:
        raise ApiError(400, f"tools may have {settings.max_schema} characters of JSON.", param="tools")
    check_text("tools", json.dumps(given, ensure_ascii=False))
    tools = tuple(_tool(f"tools.{number}", tool) for number, tool in enumerate(given))
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ApiError(400, f"Two tools are called {twice!r}. Give each a name of its own.", param="tools")
    return tools


def _tool(place: str, given: Mapping[str, Any]) -> Tool:
    function = given.get("function")
    if given.get("type") != "function" or not isinstance(function, Mapping):
        raise ApiError(
            400,
            f'{place} must be {{"type": "function", "function": {{"name": ..., "parameters": {{...}}}}}}, '
            f"got {shown(given)}.",
            param=place,
        )
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ApiError(
            400,
            f"{place}.function.name must be 1 to 64 letters, digits, underscores and hyphens, got {shown(name)}.",
            param=f"{place}.function.name",
        )
    if description is not None and not isinstance(description, str):
        raise ApiError(
            400, f"{place}.function.description must be a text.", param=f"{place}.function.description"
        )
    if not isinstance(function.get("strict"), bool | None):
        raise ApiError(
            400, f"{place}.function.strict must be true or false.", param=f"{place}.function.strict"
        )
    schema = _schema(f"{place}.function.parameters", function.get("parameters"))
    facts = {"name": name, "description": description or "", "parameters": {**schema}}
    return Tool(name, schema, {"type": "function", "function": facts})


def _schema(place: str, given: Any) -> Mapping[str, Any]:
    if given is None:
        return _NOTHING
    if not isinstance(given, Mapping) or given.get("type", "object") != "object":
        raise ApiError(
            400, f'{place} must be a JSON schema of type "object", got {shown(given)}.', param=place
        )
    return {"type": "object", **given}


def _allowed(choice: str | Mapping[str, Any] | None, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    if choice == "none":
        return ()
    if choice in (None, "auto", "required"):
        return tools
    function = choice.get("function") if isinstance(choice, Mapping) else None
    if (
        not isinstance(choice, Mapping)
        or choice.get("type") != "function"
        or not isinstance(function, Mapping)
    ):
        raise ApiError(400, f"{_CHOICES}, got {shown(choice)}.", param="tool_choice")
    found = tuple(tool for tool in tools if tool.name == function.get("name"))
    if not found:
        raise ApiError(
            400,
            f"tool_choice names {shown(function.get('name'))}, which is not in tools.",
            param="tool_choice",
        )
    return found


def _check_format(wanted: Mapping[str, Any] | None) -> None:
    if wanted is not None and wanted.get("type") != "text":
        raise ApiError(
            400,
            "response_format and tools cannot be combined: an answer is either JSON of the one or a call of the other. "
            'Leave one out, or set tool_choice to "none".',
            param="response_format",
        )
