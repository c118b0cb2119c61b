"""What every token of a vocabulary says, arranged so that a regular expression searches all of them at once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import Ids
from llmbuilder.constraints.patterns import fold, is_word

Mask = npt.NDArray[np.bool_]

EDGE = "\0"
"""Stands before every token in the text that is searched, and after the last."""


class Vocabulary:
    """The texts of tokens.

    Tokens that are whole characters of UTF-8 are ``texts``; ``parts`` are those that begin or end inside one.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """Arrange the bytes [V] of every token; those without any are never said."""
        self.pieces = tuple(pieces)
        self.size = len(self.pieces)
        self.guidance: Any = None
        """What llguidance makes of it, once a grammar was asked for."""
        self.texts: dict[int, str] = {}
        self.parts: dict[int, bytes] = {}
        for token, piece in enumerate(self.pieces):
            try:
                text = fold(piece.decode())
            except UnicodeDecodeError:
                self.parts[token] = piece
            else:
                if text and EDGE not in text:
                    self.texts[token] = text
        self._tokens = np.fromiter(self.texts, np.int64, len(self.texts))
        self._joined = EDGE + "".join(text + EDGE for text in self.texts.values())
        lengths = [len(text) + 1 for text in self.texts.values()]
        self._starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)

    def search(self, source: str) -> Ids:
        """Ascending ids [n] of tokens in whose text, with `EDGE` around it, a regular expression is found."""
        places = np.fromiter((m.start() for m in re.finditer(source, self._joined)), np.int64)
        # A match begins at the edge before its token or inside it.
        return self._tokens[np.unique(self._starts.searchsorted(places, side="right") - 1)]

    def beginning(self, heads: Mapping[str, Iterable[str]]) -> Ids:
        """Ids [n] of tokens with one of the characters of ``heads`` in their text, and one that may follow it.

        Nothing need follow where an empty one may; a space stands for all whitespace.
        """
        if not heads:
            return np.zeros(0, np.int64)
        return self.search("|".join(_head(first, seconds) for first, seconds in heads.items()))

    def beginning_with(self, characters: Iterable[str]) -> list[int]:
        """Tokens whose text begins with one of these characters; a space stands for all whitespace."""
        return [token for character in characters for token in self._by_first.get(character, ())]

    @cached_property
    def _by_first(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for token, text in self.texts.items():
            found.setdefault(" " if text[0].isspace() else text[0], []).append(token)
        return found

    def mask(self, tokens: Ids) -> Mask:
        """[V], true for these tokens."""
        mask = np.zeros(self.size, bool)
        mask[tokens] = True
        return mask

    @cached_property
    def silent(self) -> Mask:
        """Tokens without text [V], such as control tokens."""
        mask = np.ones(self.size, bool)
        mask[self._tokens] = False
        mask[list(self.parts)] = False
        return mask

    @cached_property
    def whole(self) -> Mask:
        """Tokens that are whole characters [V]."""
        return self.mask(self._tokens)

    @cached_property
    def continues_word(self) -> Mask:
        """Tokens that begin with a letter, digit or underscore [V]."""
        return self.mask(np.array([t for t, text in self.texts.items() if is_word(text[0])], np.int64))

    @cached_property
    def may_continue_word(self) -> Mask:
        """Those, and tokens that begin with part of a character beyond ASCII [V]."""
        beyond = [token for token, piece in self.parts.items() if piece[0] >= 0x80]
        return self.continues_word | self.mask(np.array(beyond, np.int64))

    @cached_property
    def by_bytes(self) -> dict[bytes, int]:
        """The first token of every spelling."""
        return {piece: token for token, piece in reversed([*enumerate(self.pieces)]) if piece}

    @cached_property
    def longest(self) -> int:
        """Most bytes of any token."""
        return max(map(len, self.by_bytes), default=0)

    def spell(self, text: bytes) -> tuple[int, ...] | None:
        """Tokens that say exactly ``text``, the longest first at every place; None if there are none."""
        tokens: list[int] = []
        start = 0
        while start < len(text):
            ends = range(min(len(text), start + self.longest), start, -1)
            end = next((end for end in ends if text[start:end] in self.by_bytes), None)
            if end is None:
                return None
            tokens.append(self.by_bytes[text[start:end]])
            start = end
        return tuple(tokens)


def _head(first: str, seconds: Iterable[str]) -> str:
    """A regular expression for a character and those that may follow it."""
    follow = "" if "" in seconds else f"[{''.join(map(_in_class, seconds))}]"
    return re.escape(first) + follow


def _in_class(character: str) -> str:
    return r"\s" if character == " " else re.escape(character)
