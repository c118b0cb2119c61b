"""From a list of messages to what a form takes: a system prompt, turns, and what the user says now; or as they are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmbuilder.chat.forms import Form, TemplateForm
from llmbuilder.chat.template import Message
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


class SaidInAnyOrder(NamedTuple):
    """A conversation whose roles do not take turns: what it means is up to the model's template."""

    messages: list[Message]

    @property
    def text(self) -> str:
        """What is said."""
        return "".join(message["content"] for message in self.messages)

    def encode(self, form: Form) -> list[int]:
        """The prompt in a model's form.

        Raises:
            ApiError: the model has no template.
            BundleError: the template refuses this order, or leaves something out.
        """
        roles = [message["role"] for message in self.messages]
        if not isinstance(form, TemplateForm):
            raise ApiError(
                400,
                "messages must be an optional system message, then those of user and assistant in turns, the user's "
                f"last, for this model has no chat template that says more; got {shown(roles)}. "
                "Join messages of one role that follow each other.",
                param="messages",
            )
        form.check_order(roles)
        return form.encode_messages(self.messages)


def read_messages(messages: Sequence[Mapping[str, Any]]) -> Said | SaidInAnyOrder:
    """Check a conversation; nothing of it is left out.

    Raises:
        ApiError: no messages, or of other roles; content that is no text.
        ConfigError: a text with half a character.
    """
    said = [(_role(n, message), text_of(f"messages.{n}", message)) for n, message in enumerate(messages)]
    if not said:
        raise ApiError(400, "messages must have at least one. Say something.", param="messages")
    roles, texts = [role for role, _ in said], [text for _, text in said]
    begins = int(roles[0] == "system")
    if roles[begins:] != (["user", "assistant"] * len(roles))[: len(roles) - begins] or roles[-1] != "user":
        return SaidInAnyOrder([{"role": role, "content": text} for role, text in said])
    turns = [Turn(*pair) for pair in zip(texts[begins:-1:2], texts[begins + 1 : -1 : 2], strict=True)]
    return Said(texts[0] if begins else None, turns, texts[-1])


def _role(number: int, message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role not in (*SYSTEM, "user", "assistant"):
        raise ApiError(
            400,
            f"messages.{number}: the role must be system, developer, user, assistant or tool, got {shown(role)}.",
            param=f"messages.{number}.role",
        )
    return "system" if role in SYSTEM else str(role)


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
