"""A short way to complete a text that a grammar constrains.

The way is looked for byte by byte: what the grammar forces is taken, then whatever closes what is open, else some
character. That finds a short ending of JSON. Where it runs in circles, as in a regular expression whose closing is a
letter, the byte used least so far is taken instead, which leaves every loop. Neither promises the shortest.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from llmbuilder.constraints.guidance import Matcher
from llmbuilder.constraints.vocabulary import Vocabulary

_CLOSING = b'}]"),:; \n0123456789'
_QUOTE = ord('"')
_TEXT = 60  # as many bytes are allowed only inside a string, where brackets close nothing
_BYTES_PER_TOKEN = 8  # of a way that is given up


class Bytes:
    """The tokens of single bytes, as a grammar's masks are asked for them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Know a vocabulary's bytes, those that close things first."""
        order = sorted(range(256), key=lambda b: (_CLOSING.find(b) if b in _CLOSING else len(_CLOSING), b))
        single = [(b, vocabulary.by_bytes[bytes([b])]) for b in order if bytes([b]) in vocabulary.by_bytes]
        self.values = tuple(b for b, _ in single)
        self.tokens = np.array([token for _, token in single], np.int64)
        self.spell = vocabulary.spell

    def allowed(self, matcher: Matcher) -> list[tuple[int, int]]:
        """(byte, token) of those that may come next, in order."""
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        flags = (bits[self.tokens >> 3] >> (self.tokens & 7)) & 1
        return [(self.values[i], int(self.tokens[i])) for i in flags.nonzero()[0]]


class Walk(NamedTuple):
    """What was ``said`` on a way to the end, and how far it led; ``needed`` is what had to follow, where known."""

    said: bytes
    end: Literal["complete", "too long", "unsayable"]
    needed: bytes = b""


def shortest_ending(matcher: Matcher, alphabet: Bytes, most: int) -> tuple[int, ...] | None:
    """Tokens that complete the text, at most ``most``; None if no such way is found. ``matcher`` is not changed."""
    for walk in _walks(matcher, alphabet, most):
        tokens = alphabet.spell(walk.said) if walk.end == "complete" else None
        if tokens is not None and len(tokens) <= most:
            return tokens
    return None


def dead_end(matcher: Matcher, alphabet: Bytes, most: int) -> Walk | None:
    """A way that stops where the vocabulary has no token to go on with, if all do; ``matcher`` is not changed."""
    walks = list(_walks(matcher, alphabet, most))
    return walks[0] if all(walk.end == "unsayable" for walk in walks) else None


def _walks(matcher: Matcher, alphabet: Bytes, most: int) -> Iterator[Walk]:
    for fair in (False, True):
        yield _walk(matcher.deep_copy(), alphabet, most * _BYTES_PER_TOKEN, fair=fair)


def _walk(matcher: Matcher, alphabet: Bytes, most: int, *, fair: bool) -> Walk:
    """Complete a text with the bytes used least so far if ``fair``, else with those that close things."""
    walked = b""
    used: Counter[int] = Counter()
    while not (matcher.is_accepting() or matcher.is_stopped()):
        if len(walked) > most:
            return Walk(walked, "too long")
        needed = matcher.compute_ff_bytes()
        if needed:
            forced = alphabet.spell(needed)
            if forced is None or not matcher.consume_tokens(list(forced)):
                return Walk(walked, "unsayable", needed)
            walked += needed
            continue
        ways = alphabet.allowed(matcher)
        if not ways:
            return Walk(walked, "unsayable")
        byte, token = min(ways, key=lambda way: used[way[0]]) if fair else _closing(ways)
        used[byte] += 1
        walked += bytes([byte])
        if not matcher.consume_token(token):
            return Walk(walked, "unsayable")
    return Walk(walked, "unsayable" if matcher.is_error() else "complete")


def _closing(ways: list[tuple[int, int]]) -> tuple[int, int]:
    quotes = [way for way in ways if way[0] == _QUOTE]
    return quotes[0] if quotes and len(ways) > _TEXT else ways[0]
