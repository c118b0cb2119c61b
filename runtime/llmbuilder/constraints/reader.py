"""Following a text through any number of words and phrases at once.

The patterns are two trees of characters, one of whole words and one of those that count anywhere, so that what a
character costs does not depend on how many patterns there are. Where a text stands is a `Place`, a value.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmbuilder.constraints.patterns import Pattern, is_word

_WHOLE, _ANYWHERE = 0, 1
"""The roots of the trees."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a text has come.

    Attributes:
        nodes: where the text stands in patterns that it has begun.
        ended: numbers of the whole-word patterns that it ends with, if no letter, digit or underscore follows.
        after_word: the last character belongs to a word.
        after_space: the last character is whitespace.
    """

    nodes: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    after_word: bool = False
    after_space: bool = False

    def anew(self) -> "Place":
        """The same place, with no pattern begun."""
        return replace(self, nodes=frozenset(), ended=frozenset())


class Reader:
    """Follows a text through a fixed list of patterns."""

    def __init__(self, looked_for: Iterable[Pattern]) -> None:
        """Look for these; their numbers are their positions."""
        self.patterns = tuple(looked_for)
        self._next: list[dict[str, int]] = [{}, {}]
        self._ends: list[tuple[int, ...]] = [(), ()]
        """Numbers of the patterns that end at each node."""
        self._is_whole: list[bool] = [True, False]
        for number, pattern in enumerate(self.patterns):
            self._add(number, pattern)

    def read(self, place: Place, text: str) -> tuple[Place, tuple[int, ...]]:
        """Read folded text; return where it ends and the patterns found, those that the text itself ends with not."""
        found: list[int] = []
        for char in text:
            place = self._step(place, char, found)
        return place, tuple(found)

    def finish(self, place: Place, text: str) -> tuple[bool, bool]:
        """Whether folded text goes on to say a pattern that is begun, and whether it ends with one instead."""
        nodes, ended, after_space = list(place.nodes), False, place.after_space
        for char in text:
            space = char.isspace()
            if space and after_space:
                continue
            if ended and not is_word(char):
                return True, False
            step, after_space = " " if space else char, space
            nodes = [self._next[node][step] for node in nodes if step in self._next[node]]
            ending = [node for node in nodes if self._ends[node]]
            if not all(self._is_whole[node] for node in ending):
                return True, False
            if not nodes:
                return False, False
            ended = bool(ending)
        return False, ended

    def following(self, place: Place) -> set[str]:
        """The characters that go on with a pattern that is begun, if any is; a space stands for all whitespace."""
        found = {char for node in place.nodes for char in self._next[node]}
        return found | {" "} if found and place.after_space else found

    @property
    def beginnings(self) -> dict[str, set[str]]:
        """First characters of the patterns, each with those that may follow; an empty one where none need follow."""
        found: dict[str, set[str]] = {}
        for pattern in self.patterns:
            found.setdefault(pattern.folded[0], set()).add(pattern.folded[1:2])
        return found

    def _add(self, number: int, pattern: Pattern) -> None:
        node = _WHOLE if pattern.whole else _ANYWHERE
        for char in pattern.folded:
            node = self._next[node].setdefault(char, len(self._next))
            if node == len(self._next):
                self._next.append({})
                self._ends.append(())
                self._is_whole.append(pattern.whole)
        self._ends[node] += (number,)

    def _step(self, place: Place, char: str, found: list[int]) -> Place:
        space, word = char.isspace(), is_word(char)
        if space and place.after_space:
            return place
        char = " " if space else char
        if place.ended and not word:
            found += sorted(place.ended)
        begun = (_ANYWHERE,) if place.after_word else (_WHOLE, _ANYWHERE)
        reached = [self._next[node][char] for node in (*place.nodes, *begun) if char in self._next[node]]
        ended: list[int] = []
        for node in reached:
            ended += self._ends[node] if self._is_whole[node] else ()
            found += () if self._is_whole[node] else self._ends[node]
        nodes = frozenset(node for node in reached if self._next[node])
        return Place(nodes, frozenset(ended), word, space)
