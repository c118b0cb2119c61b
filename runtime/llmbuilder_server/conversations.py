"""From a list of messages to what a form takes: a system prompt, turns, and what the user says now."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmbuilder.chat.forms import Form
from llmbuilder.checks import check_text, shown
from llmbuilder.sessions.conversation import Turn
from llmbuilder_server.errors import ApiError

SYSTEM = ("system", "developer")
"""Roles of a system message."""


class Said(NamedTuple):
    """A conversation up to where the assistant answers."""

    system: str | None
    turns: list[Turn]
    user: str

    @property
    def text(self) -> str:
        """What is said."""
        return "".join([self.system or "", self.user, *(text for turn in self.turns for text in turn)])

    def encode(self, form: Form) -> list[int]:
        """The prompt in a model's form."""
        return form.encode(*self)


def read_messages(messages: Sequence[Mapping[str, Any]]) -> Said:
    """Check a conversation; nothing of it is left out.

    Raises:
        ApiError: messages of other roles, or in another order than user and assistant in turns after a system
            message, which is optional; content that is no text.
        ConfigError: a text with half a character.
    """
    said = [(_role(n, message), text_of(f"messages.{n}", message)) for n, message in enumerate(messages)]
    system = said.pop(0)[1] if said and said[0][0] in SYSTEM else None
    expected = ["user", "assistant"] * len(said)
    roles = [role for role, _ in said]
    if not said or len(said) % 2 == 0 or roles != expected[: len(said)]:
        raise ApiError(
            400,
            "messages must be an optional system message, then those of user and assistant in turns, the user's last; "
            f"got {shown(roles)}. Join messages of one role that follow each other.",
            param="messages",
        )
    texts = [text for _, text in said]
    turns = [Turn(*pair) for pair in zip(texts[:-1:2], texts[1:-1:2], strict=True)]
    return Said(system, turns, texts[-1])


def _role(number: int, message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role not in (*SYSTEM, "user", "assistant"):
        raise ApiError(
            400,
            f"messages.{number}: the role must be system, developer, user, assistant or tool, got {shown(role)}.",
            param=f"messages.{number}.role",
        )
    return str(role)


def text_of(place: str, message: Mapping[str, Any]) -> str:
    """The text of a message, which stands at ``place``.

    Raises:
        ApiError: content that is no text.
        ConfigError: a text with half a character.
    """
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if not all(
        isinstance(p, Mapping) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts
    ):
        raise ApiError(
            400,
            f"{place}: content must be a text, or a list of parts of type text.",
            param=f"{place}.content",
        )
    return "".join(check_text(place, part["text"]) for part in parts)
