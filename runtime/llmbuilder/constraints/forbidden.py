"""Which tokens would make a text say a forbidden word.

A token is forbidden when the word is certain to stand in the text with it. A token that only ends in the word is not,
because the next may turn "learn" into "learning": the text is *open* then, may not end, and gets such a token next. So
a token that opens the text is taken only where there is room for another, and one that leads on.
"""

import codecs
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from llmbuilder.constraints.patterns import Pattern, fold
from llmbuilder.constraints.reader import Place, Reader
from llmbuilder.constraints.vocabulary import Mask, Vocabulary

_KNOWN = 512  # places whose masks are kept
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Spot(NamedTuple):
    """Where a text stands: how far it has come, and the bytes of a character that is not complete."""

    place: Place
    part: bytes = b""


class Effect(NamedTuple):
    """Tokens that complete a forbidden word, and those that open the text; a token may do both."""

    completes: list[int]
    opens: list[int]

    @property
    def tokens(self) -> list[int]:
        """All of them, ascending."""
        return sorted({*self.completes, *self.opens})


def decode(part: bytes, piece: bytes) -> tuple[str, bytes]:
    """The folded text that a token completes, and the incomplete character it leaves."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(part + piece)
    return fold(text), decoder.getstate()[0]


class Forbidden:
    """Answers, for a text that stands at a `Spot`, which tokens complete a forbidden word and which open one."""

    def __init__(self, vocabulary: Vocabulary, looked_for: Iterable[Pattern]) -> None:
        """Forbid these patterns."""
        self._vocabulary = vocabulary
        self.reader = Reader(looked_for)
        self.completed_by = lru_cache(_KNOWN)(self._completed_by)
        self.opened_by = lru_cache(_KNOWN)(self._opened_by)
        self.leading_on = lru_cache(_KNOWN)(self._leading_on)
        self._by_itself = self._read_from(Place(), vocabulary.beginning(self.reader.beginnings))
        self._after_word = self._read_from(Place(after_word=True), self._by_itself.tokens)

    def start(self, prompt: str) -> Spot:
        """Where a continuation begins: inside words that the prompt has begun, or, read by itself, at a border."""
        place, _ = self.reader.read(Place(), fold(prompt))
        return Spot(replace(place, ended=frozenset(), after_word=False))

    def advance(self, spot: Spot, token: int) -> Spot:
        """Where the text stands after a token."""
        return self._follow(spot, token)[0]

    def is_open(self, spot: Spot) -> bool:
        """Whether the text may not end here, nor go on but inside the word it ends with."""
        return bool(spot.place.ended)

    def _leading_on(self, spot: Spot) -> tuple[int, ...]:
        """Tokens that open the text, but after which a single one closes it again."""
        return tuple(t for t in self.opened_by(spot) if self._can_close(self.advance(spot, t)))

    def _can_close(self, spot: Spot) -> bool:
        vocabulary = self._vocabulary
        ways = vocabulary.continues_word & ~self.completed_by(spot)
        ways[list(self.opened_by(spot))] = False
        return bool(ways.any())

    def says(self, spot: Spot, tokens: Iterable[int]) -> bool:
        """Whether tokens complete a forbidden word on their way, or end in one."""
        for token in tokens:
            spot, said = self._follow(spot, token)
            if said:
                return True
        return self.is_open(spot)

    def _follow(self, spot: Spot, token: int) -> tuple[Spot, bool]:
        text, part = decode(spot.part, self._vocabulary.pieces[token])
        place, found = self.reader.read(spot.place, text)
        return Spot(place, part), bool(found)

    def _completed_by(self, spot: Spot) -> Mask:
        """Tokens [V] with which a forbidden word certainly stands in the text."""
        vocabulary, mask = self._vocabulary, self._vocabulary.silent.copy()
        for token in vocabulary.parts:
            mask[token] = self._follow(spot, token)[1]
        place = spot.place
        if spot.part:  # a whole character after half a one
            place, found = self.reader.read(place, _BROKEN)
            if found:
                mask[list(vocabulary.texts)] = True
                return mask
        if place.ended:
            mask |= ~vocabulary.continues_word & ~_of(vocabulary, vocabulary.parts)
        for effect in self._effects(place):
            mask[effect.completes] = True
        return mask

    def _opened_by(self, spot: Spot) -> tuple[int, ...]:
        """Tokens after which the text ends with a forbidden word that it does not yet contain."""
        vocabulary = self._vocabulary
        place = self.reader.read(spot.place, _BROKEN)[0] if spot.part else spot.place
        mask = np.zeros(vocabulary.size, bool)
        for effect in self._effects(place):
            mask[effect.opens] = True
        opening = [t for t in vocabulary.parts if self.is_open(self.advance(spot, t))]
        mask[opening] = True
        return tuple(int(i) for i in (mask & ~self.completed_by(spot)).nonzero()[0])

    def _effects(self, place: Place) -> tuple[Effect, Effect]:
        """What tokens that are whole characters do after a place: by what they say, and by what is begun there."""
        begun = [
            (token, self.reader.finish(place, self._vocabulary.texts[token]))
            for token in self._vocabulary.beginning_with(self.reader.following(place))
        ]
        return self._after_word if place.after_word else self._by_itself, _effect(begun)

    def _read_from(self, place: Place, tokens: Iterable[int]) -> Effect:
        """What tokens do after a place where nothing is begun."""
        read = ((token, self.reader.read(place, self._vocabulary.texts[token])) for token in tokens)
        return _effect((token, (bool(found), bool(end.ended))) for token, (end, found) in read)


def _effect(tokens: Iterable[tuple[int, tuple[bool, bool]]]) -> Effect:
    """From tokens, each with whether it completes a forbidden word, and whether it opens the text."""
    known = [(token, *does) for token, does in tokens]
    return Effect(
        [token for token, completes, _ in known if completes], [token for token, _, opens in known if opens]
    )


def _of(vocabulary: Vocabulary, tokens: Iterable[int]) -> Mask:
    return vocabulary.mask(np.fromiter(tokens, np.int64))
