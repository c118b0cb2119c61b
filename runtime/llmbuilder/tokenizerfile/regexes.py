"""The regular expressions of tokenizers' files, as Oniguruma reads them.

Wherever what follows fails, Oniguruma goes back and tries another way, at every place of a text; it gives up only a
match that it has tried some millions of times. So what is refused are repetitions in repetitions, references to what
was found, and patterns with too many ways to match before they fail: one long repetition may stand before what can
fail, as in patterns of models. What passes takes time that grows at most with the square of the longest run that a
repetition matches.
"""

import re
from math import prod
from typing import NamedTuple

from llmbuilder.tokenizerfile.places import refuse

_ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?[\w ]+\}|x\{[0-9a-fA-F ]+\}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|[^1-9kgcCM])", re.DOTALL
)
_EDGES = frozenset("bBAzZGKyY")
_OPENING = re.compile(r"\((?:\?(?:(?P<around>=|!|<=|<!)|:|>|[ims]*(?:-[ims]*)?:)|(?!\?))")
_OPTIONS = re.compile(r"\(\?[ims]*(?:-[ims]*)?\)")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(?P<least>\d*)(?P<comma>,)?(?P<most>\d*)\})[?+]?")
_MANY = 64
_WAYS_OF_MANY = 500
"""As which repetitions of more than `_MANY` times count."""
_MOST_WAYS = 4000
"""Of all alternatives together; those of GPT-4o have 2,018."""
_LARGEST_COUNT = 1000
_MOST_DEPTH = 16


class _Part(NamedTuple):
    shortest: int  # characters of a match: 0, or 1 for more
    ways: int = 1
    """In which it may match or fail in one place, if what follows sends it back."""
    tried: int = 1
    """The same, if nothing follows that could."""
    fails: bool = True
    """Whether it can send back what stands before it."""
    repeats: bool = False  # more than once


def _in_a_row(parts: list[_Part]) -> _Part:
    last = max((at for at, part in enumerate(parts) if part.fails), default=-1)
    ways = prod(part.ways for part in parts)
    before = prod(part.ways for part in parts[: max(last, 0)])
    tried = before * parts[last].tried if last >= 0 else 1
    return _Part(
        max((part.shortest for part in parts), default=0),
        ways,
        tried + sum(part.tried - 1 for part in parts[last + 1 :]),
        last >= 0,
        any(part.repeats for part in parts),
    )


def _either(parts: list[_Part]) -> _Part:
    return _Part(
        min(part.shortest for part in parts),
        sum(part.ways for part in parts),
        sum(part.tried for part in parts),
        all(part.fails for part in parts),
        any(part.repeats for part in parts),
    )


def _repeated(part: _Part, least: int, most: int, sign: str) -> _Part:
    """A part with a quantifier, ``sign``. Ruby's rules: ``a{2}+`` is ``(?:a{2})+``."""
    possessive = sign[0] != "{" and sign.endswith("+") and len(sign) > 1
    again = part.ways ** min(max(least - 1, 0), _MANY)
    tried = again * part.tried
    if possessive:
        ways = tried
    elif most > _MANY or sign.endswith("}+"):
        ways = _WAYS_OF_MANY * part.ways
    else:
        ways = sum(part.ways**times for times in range(least, most + 1))
    return _Part(
        part.shortest if least else 0,
        min(max(ways, tried), _ENDLESS),
        min(tried, _ENDLESS),
        part.fails and least > 0,
        part.repeats or most > 1,
    )


def check_regex(pattern: str, place: str) -> int:
    """Refuse a pattern of a shape that no tokenizer of a model has.

    Returns:
        0 if the pattern can match nothing, else 1.

    Raises:
        RefusedError: it is of such a shape.
    """
    reader = _Reader(pattern, place)
    part = reader.alternatives(0)
    if reader.at < len(pattern):
        reader.refuse("a parenthesis too many")
    if part.tried > _MOST_WAYS:
        reader.refuse("too many ways to match")
    return part.shortest


class _Reader:
    def __init__(self, pattern: str, place: str) -> None:
        self._pattern, self._place, self.at = pattern, place, 0

    def refuse(self, what: str) -> int:
        refuse(self._place, f"has {what} in a regular expression (character {self.at})")

    def alternatives(self, depth: int) -> _Part:
        if depth > _MOST_DEPTH:
            self.refuse("too many groups in groups")
        found = [self._sequence(depth)]
        while self._skip("|"):
            found.append(self._sequence(depth))
        return _either(found)

    def _sequence(self, depth: int) -> _Part:
        parts = []
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            parts.append(self._quantified(self._atom(depth)))
        return _in_a_row(parts)

    def _quantified(self, part: _Part) -> _Part:
        match = _QUANTIFIER.match(self._pattern, self.at)
        if match is None or match[0].startswith(("{}", "{,}")):
            return part
        self.at = match.end()
        least, most = _bounds(match)
        if most > 1 and part.repeats:
            self.refuse("a repetition in a repetition")
        if most > _LARGEST_COUNT and most != _ENDLESS:
            self.refuse("a repetition of over a thousand times")
        return _repeated(part, least, most, match[0])

    def _atom(self, depth: int) -> _Part:
        letter = self._pattern[self.at]
        if letter == "\\":
            escape = _ESCAPE.match(self._pattern, self.at)
            if escape is None:
                return _Part(self.refuse("an unknown escape"))
            self.at = escape.end()
            return _Part(0 if escape[0][1] in _EDGES else 1)
        if letter == "[":
            self._set()
            return _Part(1)
        if letter == "(":
            return self._group(depth)
        self.at += 1
        return _Part(0 if letter in "^$" else 1)

    def _group(self, depth: int) -> _Part:
        if options := _OPTIONS.match(self._pattern, self.at):
            self.at = options.end()
            return _Part(0, fails=False)
        opening = _OPENING.match(self._pattern, self.at)
        if opening is None:
            return _Part(self.refuse("an unknown group"))
        self.at = opening.end()
        inside = self.alternatives(depth + 1)
        if not self._skip(")"):
            self.refuse("a parenthesis that is not closed")
        if opening["around"]:
            return inside._replace(shortest=0, ways=inside.tried, fails=True)
        return inside._replace(ways=inside.tried) if opening[0] == "(?>" else inside

    def _set(self) -> None:
        """Go behind a set of characters, in which others may stand."""
        depth = 0
        while self.at < len(self._pattern):
            letter = self._pattern[self.at]
            self.at += 2 if letter == "\\" else 1
            if letter == "[":
                depth += 1
                self._skip("^")
                self._skip("]")
            elif letter == "]":
                depth -= 1
                if depth == 0:
                    return
        self.refuse("a set that is not closed")

    def _skip(self, letter: str) -> bool:
        found = self._pattern.startswith(letter, self.at)
        self.at += found
        return found


_ENDLESS = 1 << 40


def _bounds(match: re.Match[str]) -> tuple[int, int]:
    """How often a quantifier repeats, at least and at most."""
    sign = match[0][0]
    if sign != "{":
        return int(sign == "+"), 1 if sign == "?" else _ENDLESS
    least, most = (int(text[:7]) if text else None for text in (match["least"], match["most"]))
    if match["comma"] is None:
        return least or 0, least or 0
    return least or 0, _ENDLESS if most is None else most
