"""Log-probabilities in the two forms of OpenAI's API."""

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

from llmbuilder.decoding.sampling import TokenLogprobs
from llmbuilder_server.served import Served

_LEAST = -9999.0
"""JSON has no infinity."""


class Spelling:
    """How tokens are written: as the text they stand for, or by name if they have none."""

    def __init__(self, model: Served) -> None:
        """Spell tokens of ``model``."""
        self._pieces = model.pieces
        self._name = model.tokenizer.name

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; those of its name for a control token."""
        piece = self._pieces[token] if token < len(self._pieces) else b""
        return piece or self._name(token).encode(errors="replace")

    def text(self, token: int) -> str:
        """A token as text; half a character becomes U+FFFD."""
        return self.bytes_of(token).decode(errors="replace")

    def is_text(self, token: int) -> bool:
        """Whether a token is part of a text."""
        return token < len(self._pieces) and self._pieces[token] != b""


def chat_logprobs(
    spelling: Spelling, ids: Sequence[int], logprobs: Sequence[TokenLogprobs] | None
) -> dict[str, Any] | None:
    """As in chats, with bytes."""
    if logprobs is None:
        return None
    content = []
    for token, found in _of_text(spelling, ids, logprobs):
        top = [_entry(spelling, other, logprob) for other, logprob in found.top]
        content.append(_entry(spelling, token, found.logprob) | {"top_logprobs": top})
    return {"content": content, "refusal": None}


class TextLogprobs:
    """As in completions, with offsets: where each token's text begins. One for each text, because texts go on."""

    def __init__(self, spelling: Spelling, start: int) -> None:
        """Begin at character ``start``."""
        self._spelling = spelling
        self._offset = start
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, ids: Sequence[int], logprobs: Sequence[TokenLogprobs] | None) -> dict[str, Any] | None:
        """The next tokens."""
        if logprobs is None:
            return None
        parts = list(_of_text(self._spelling, ids, logprobs))
        offsets = []
        for token, _ in parts:
            offsets.append(self._offset)
            self._offset += len(self._decode.decode(self._spelling.bytes_of(token)))
        return {
            "tokens": [self._spelling.text(token) for token, _ in parts],
            "token_logprobs": [_finite(found.logprob) for _, found in parts],
            "top_logprobs": [
                {self._spelling.text(other): _finite(logprob) for other, logprob in reversed(found.top)}
                for _, found in parts
            ],
            "text_offset": offsets,
        }


def _of_text(
    spelling: Spelling, ids: Sequence[int], logprobs: Sequence[TokenLogprobs]
) -> Iterator[tuple[int, TokenLogprobs]]:
    """Tokens without those that have no text, such as EOS."""
    return ((token, found) for token, found in zip(ids, logprobs, strict=True) if spelling.is_text(token))


def _entry(spelling: Spelling, token: int, logprob: float) -> dict[str, Any]:
    return {
        "token": spelling.text(token),
        "logprob": _finite(logprob),
        "bytes": list(spelling.bytes_of(token)),
    }


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)
