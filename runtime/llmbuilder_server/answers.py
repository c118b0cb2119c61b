"""The objects of OpenAI's API that answers are made of."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from llmbuilder.decoding.completion import FinishReason

REASONS: Mapping[FinishReason, str] = {
    "eos": "stop",
    "stop": "stop",
    "length": "length",
    "time": "length",
    "cancelled": "length",
}
"""OpenAI's words for why a text ended."""


class SafeJSON(Response):
    """JSON in ASCII, which holds any text, half characters too."""

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer with ``content``."""
        super().__init__(json_text(content), status, headers)


def json_text(content: Any) -> str:
    """JSON without spaces."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


@dataclass(slots=True)
class Usage:
    """Tokens of a request."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    @property
    def content(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(frozen=True, slots=True)
class Frame:
    """What all objects of one answer have in common."""

    model: str
    prefix: str
    kind: str
    created: int = field(default_factory=lambda: int(time.time()))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def whole(self, choices: Iterable[Mapping[str, Any]], usage: Usage) -> dict[str, Any]:
        """An answer as one object."""
        return self._object(self.kind, list(choices)) | {"usage": usage.content}

    def chunk(self, choices: Iterable[Mapping[str, Any]], extra: Mapping[str, Any]) -> dict[str, Any]:
        """A part of an answer that streams."""
        kind = f"{self.kind}.chunk" if self.kind.startswith("chat") else self.kind
        return self._object(kind, list(choices)) | dict(extra)

    def _object(self, kind: str, choices: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"{self.prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
