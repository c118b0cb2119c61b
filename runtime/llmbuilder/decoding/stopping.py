"""Stop strings, matched on text, of which there may be thousands.

All are found in one pass, by the machine of Aho and Corasick (1975). It is immutable; where a text stands is a value.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

_TEXT, _CONTROL = ".", "^"


class Place(NamedTuple):
    """Where a stream of text stands."""

    held: str = ""
    """Text held back because a stop string may begin in it."""
    node: int = 0
    spelled: int | None = None
    """The node of the text with control tokens spelled out, where that is another."""
    marks: str = ""
    """Whether the last characters of that text are text or spelled out, as many as may begin a stop string."""


BEGINNING = Place()


class Matched(NamedTuple):
    """Text that may be shown, where the stream stands then, and whether a stop string was found."""

    text: str
    place: Place
    stopped: bool


class _Found(NamedTuple):
    """The node at the end, and the stop string that is complete first: where it ends, and its length; 0 if none is."""

    node: int
    end: int
    length: int


class StopMatcher:
    """Finds the first of some stop strings in a stream of text."""

    def __init__(self, stop_strings: Sequence[str]) -> None:
        """Watch for ``stop_strings``, none of them empty."""
        self._machine = _machine(tuple(stop_strings)) if stop_strings else None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to watch for."""
        return self._machine is None

    def advance(self, place: Place, piece: str, control: str = "") -> Matched:
        """Add ``piece`` to a stream, and then a control token that is spelled ``control`` but is no text.

        Stop strings are found in the text, and in the text with control tokens spelled out. The one that is complete
        first counts, of several the one that begins first, so that it does not matter how the text is cut into pieces.
        The text before it is returned, and nothing is held any more. Else only a true beginning of one is held back.
        """
        machine, text = self._machine, place.held + piece
        if machine is None:
            return Matched(text, place, stopped=False)
        node, end, length = machine.walk(place.node, piece)
        cuts = [(end, -length)] if length else []
        keep, spelled, marks = machine.depth[node], None, ""
        if control or place.spelled is not None:
            begun = place.node if place.spelled is None else place.spelled
            marks = _TEXT * len(place.held) if place.spelled is None else place.marks
            marks += _TEXT * len(piece) + _CONTROL * len(control)
            spelled, end, length = machine.walk(begun, piece + control)
            if length:
                last = len(marks) - len(piece) - len(control) + end
                cuts.append((end, -marks[last - length : last].count(_TEXT)))
            marks = marks[len(marks) - machine.depth[spelled] :]
            keep = max(keep, marks.count(_TEXT))
        if cuts:
            end, cut = min(cuts)
            return Matched(text[: len(place.held) + min(end, len(piece)) + cut], BEGINNING, stopped=True)
        if spelled == node and _CONTROL not in marks:
            spelled, marks = None, ""
        return Matched(
            text[: len(text) - keep], Place(text[len(text) - keep :], node, spelled, marks), stopped=False
        )


class _Machine:
    """A tree of all stop strings, with a link from each node to the longest proper end of it that is a node, too.

    Attributes:
        depth: the length of each node's text.
    """

    def __init__(self, stop_strings: Iterable[str]) -> None:
        self.depth = [0]
        self._next: list[dict[str, int]] = [{}]
        self._link = [0]
        self._length = [0]  # of the longest stop string that a node's text ends with
        for stop in stop_strings:
            self._add(stop)
        self._connect()

    def walk(self, node: int, piece: str) -> _Found:
        """Read ``piece`` from a node on, up to the first stop string that is complete."""
        for end, character in enumerate(piece, 1):
            while character not in self._next[node] and node:
                node = self._link[node]
            node = self._next[node].get(character, 0)
            if self._length[node]:
                return _Found(node, end, self._length[node])
        return _Found(node, len(piece), 0)

    def _add(self, stop: str) -> None:
        node = 0
        for depth, character in enumerate(stop, 1):
            known = self._next[node].setdefault(character, len(self._next))
            if known == len(self._next):
                self._next.append({})
                self._link.append(0)
                self._length.append(0)
                self.depth.append(depth)
            node = known
        self._length[node] = len(stop)

    def _connect(self) -> None:
        """Find the links, shorter texts first."""
        nodes = list(self._next[0].values())
        for node in nodes:  # grows on the way
            for character, child in self._next[node].items():
                nodes.append(child)
                link = self._link[node]
                while character not in self._next[link] and link:
                    link = self._link[link]
                self._link[child] = link = self._next[link].get(character, 0)
                self._length[child] = self._length[child] or self._length[link]


_MACHINES: WeakValueDictionary[tuple[str, ...], _Machine] = WeakValueDictionary()
"""Those in use: all continuations of a prompt share one, and so do prompts that have their stop strings in common."""


def _machine(stop_strings: tuple[str, ...]) -> _Machine:
    machine = _MACHINES.get(stop_strings)
    if machine is None:
        machine = _MACHINES[stop_strings] = _Machine(stop_strings)
    return machine
