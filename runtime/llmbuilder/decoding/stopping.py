"""Stop strings, matched on text. The machine is immutable; what it holds back is a value."""

from collections.abc import Sequence
from typing import NamedTuple


class Matched(NamedTuple):
    """Text that may be shown, text held back because a stop string may begin in it, and whether one was found."""

    text: str
    held: str
    stopped: bool


class StopMatcher:
    """Finds the first of some stop strings in a stream of text."""

    def __init__(self, stop_strings: Sequence[str]) -> None:
        """Watch for ``stop_strings``, none of them empty."""
        self._stop_strings = tuple(stop_strings)

    def advance(self, held: str, piece: str) -> Matched:
        """Add ``piece`` to the text held back so far.

        Only a true beginning of a stop string is held back. When one is complete, the text before it is returned and
        nothing is held any more. Of several the one that is complete first counts, so that it does not matter how the
        text is cut into pieces.
        """
        if not self._stop_strings:
            return Matched(held + piece, "", stopped=False)
        text = held + piece
        ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stop_strings if stop in text]
        if ends:
            return Matched(text[: min(ends)[1]], "", stopped=True)
        keep = max(_overlap(text, stop) for stop in self._stop_strings)
        return Matched(text[: len(text) - keep], text[len(text) - keep :], stopped=False)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
