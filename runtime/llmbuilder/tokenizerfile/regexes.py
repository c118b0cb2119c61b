"""The regular expressions of tokenizers' files, as Oniguruma reads them.

Oniguruma gives up a match that it has tried some millions of times, so what is left to refuse are the shapes that no
pattern of a model has: repetitions in repetitions, references to what was found, and more than a few repetitions in a
row.
"""

import re
from typing import NamedTuple

from llmbuilder.tokenizerfile.places import refuse

_ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?[\w ]+\}|x\{[0-9a-fA-F ]+\}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|[^1-9kgcCM])", re.DOTALL
)
_EDGES = frozenset("bBAzZGKyY")
_OPENING = re.compile(r"\((?:\?(?:(?P<around>=|!|<=|<!)|:|>|[ims]*(?:-[ims]*)?:)|(?!\?))")
_OPTIONS = re.compile(r"\(\?[ims]*(?:-[ims]*)?\)")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(?P<least>\d*)(?P<comma>,)?(?P<most>\d*)\})[?+]?")
_MOST_REPETITIONS = 4
"""In one alternative, of those that may match more than `_MANY` times; the patterns of models have two."""
_MANY = 64
_LARGEST_COUNT = 1000
_MOST_DEPTH = 16


class _Part(NamedTuple):
    shortest: int  # characters of a match: 0, or 1 for more
    repetitions: int = 0  # of many times
    repeats: bool = False  # more than once


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
        shortest = min(part.shortest for part in found)
        return _Part(shortest, max(p.repetitions for p in found), any(p.repeats for p in found))

    def _sequence(self, depth: int) -> _Part:
        whole = _Part(0)
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            part = self._quantified(self._atom(depth))
            whole = _Part(
                max(whole.shortest, part.shortest),
                whole.repetitions + part.repetitions,
                whole.repeats or part.repeats,
            )
        if whole.repetitions > _MOST_REPETITIONS:
            self.refuse("too many repetitions")
        return whole

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
        many = most > _MANY
        return _Part(part.shortest if least else 0, part.repetitions + many, part.repeats or most > 1)

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
            return _Part(0)
        opening = _OPENING.match(self._pattern, self.at)
        if opening is None:
            return _Part(self.refuse("an unknown group"))
        self.at = opening.end()
        inside = self.alternatives(depth + 1)
        if not self._skip(")"):
            self.refuse("a parenthesis that is not closed")
        return inside._replace(shortest=0) if opening["around"] else inside

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
