"""Ids to text, one at a time.

Detokenizing one token at a time must neither split a character nor lose the spaces that only context reveals, so
`Detokenizer` decodes a small window of ids before and after each new one and emits the difference.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from llmbuilder.tokenizer import Tokenizer

_KNOWN_TEXTS = 4096
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class TextState(NamedTuple):
    """Where a stream of text stands. ``before`` is the text of ``context``; ``pending`` ids have none yet."""

    context: tuple[int, ...]
    before: str
    pending: tuple[int, ...]


_BETWEEN = TextState((), "", ())
"""Between two characters, where tokens' bytes are joined: what stands before changes nothing."""


class Detokenizer:
    """Turns token ids into text one at a time; the state is a value, so that beams may share and branch it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Decode with ``tokenizer``."""
        self._tokenizer = tokenizer
        self._decode_again = functools.lru_cache(_KNOWN_TEXTS)(tokenizer.decode)
        self.spelling = functools.lru_cache(_KNOWN_TEXTS)(tokenizer.spelling)
        """How a control token is spelled, which adds nothing to the text; empty for all others."""

    @property
    def joins_bytes(self) -> bool:
        """See `Tokenizer`: then no token before can change a text, and none can fail to have one."""
        return self._tokenizer.joins_bytes

    def start(self, prompt_ids: Sequence[int]) -> TextState:
        """The state before the first new token after ``prompt_ids``."""
        context = tuple(prompt_ids)
        return TextState(context, self._tokenizer.decode(context), ())

    def advance(self, state: TextState, token: int) -> tuple[str, TextState]:
        """Add one token; return the text it completes (often, but not always, its own) and the new state."""
        pending = (*state.pending, token)
        if self._stands_alone(state):
            piece = self._decode_again(pending)
            if not piece or piece.endswith(_UNFINISHED):
                return "", state._replace(pending=pending)
            return piece, _BETWEEN
        after = self._tokenizer.decode(state.context + pending)
        if after.endswith(_UNFINISHED):
            return "", state._replace(pending=pending)
        piece = _added(state.before, after)
        if not piece:
            return "", state._replace(pending=pending)
        alone = self._decode_again(pending)
        if alone.isspace() or not alone:  # SentencePiece drops spaces that nothing stands before
            return piece, TextState(state.context + pending, after, ())
        return piece, TextState(pending, alone, ())

    def advance_by(self, state: TextState, tokens: Sequence[int]) -> tuple[str, TextState]:
        """Add several tokens; return the text they complete and the new state."""
        if self._stands_alone(state):
            text = self._tokenizer.decode((*state.pending, *tokens))
            if text and not text.endswith(_UNFINISHED):
                return text, _BETWEEN
        pieces = []
        for token in tokens:
            piece, state = self.advance(state, token)
            pieces.append(piece)
        return "".join(pieces), state

    def finish(self, state: TextState) -> str:
        """The text of what is still pending, unfinished characters included."""
        if not state.pending:
            return ""
        return _added(state.before, self._tokenizer.decode(state.context + state.pending))

    def _stands_alone(self, state: TextState) -> bool:
        """Whether the text before cannot change that of what is pending and comes next."""
        return self.joins_bytes and not state.before.endswith(_UNFINISHED)


def _added(before: str, after: str) -> str:
    """What ``after`` has behind the part it shares with ``before``."""
    if after.startswith(before):
        return after[len(before) :]
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    return after[sum(1 for _ in shared) :]
