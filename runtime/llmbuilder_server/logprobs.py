"""Log-probabilities in the two forms of OpenAI's API."""

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

from llmbuilder.decoding.sampling import TokenLogprobs
from llmbuilder.generator import Score
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
            "top_logprobs": [_by_text(self._spelling, found.top) for _, found in parts],
            "text_offset": offsets,
        }


def prompt_logprobs(spelling: Spelling, prompt: str, score: Score) -> dict[str, Any]:
    """Those of a prompt, in completions' form. The first token has none, for nothing comes before it."""
    tokens = [spelling.text(token) for token in score.token_ids]
    likeliest = [_by_text(spelling, top) for top in score.top] or [{} for _ in score.logprobs]
    first: list[None] = [None] if tokens else []
    return {
        "tokens": tokens,
        "token_logprobs": [*first, *map(_finite, score.logprobs)],
        "top_logprobs": [*first, *likeliest],
        "text_offset": _offsets(prompt, [spelling.bytes_of(token) for token in score.token_ids]),
    }


def joined(first: dict[str, Any], then: dict[str, Any] | None) -> dict[str, Any]:
    """Two parts of a text as one."""
    return {name: values + (then[name] if then else []) for name, values in first.items()}


def _offsets(text: str, pieces: Sequence[bytes]) -> list[int]:
    """Where each token of a text begins; one that is not in it, such as BOS, begins where the next one does."""
    content, decode = text.encode(errors="replace"), codecs.getincrementaldecoder("utf-8")("replace")
    place, offset, offsets = 0, 0, []
    for piece in pieces:
        offsets.append(offset)
        # SentencePiece begins texts with a space of its own.
        said = piece if place or content.startswith(piece) else piece.removeprefix(b" ")
        if content.startswith(said, place):
            place += len(said)
            offset += len(decode.decode(said))
    return offsets


def _by_text(spelling: Spelling, top: Sequence[tuple[int, float]]) -> dict[str, float]:
    """The likeliest tokens by their text; of tokens of one text the likeliest counts."""
    return {spelling.text(token): _finite(logprob) for token, logprob in reversed(top)}


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
