"""Texts broken between words, at the width of what they are shown on."""

import textwrap
import unicodedata

_WIDE = ("W", "F")
_NO_WIDTH = ("Mn", "Me", "Cf")


class Wrapper:
    """Breaks a text that comes piece by piece: a word is held back until it is known to be whole."""

    def __init__(self, width: int, column: int = 0) -> None:
        """Begin at ``column`` of lines of ``width`` cells."""
        self._width = max(width, 1)
        self._column = column
        self._spaces = self._word = ""

    def feed(self, text: str) -> str:
        """What is to be written of the text so far."""
        return "".join(map(self._take, text))

    def end(self) -> str:
        """The last word."""
        return self._place()

    def _take(self, character: str) -> str:
        if character == "\n":
            written = self._place() + "\n"
            self._column, self._spaces = 0, ""
            return written
        if character in " \t":
            written = self._place()
            self._spaces += character
            return written
        if cells(character) == 2:  # may stand at the beginning of any line
            return self._place() + self._hold(character) + self._place()
        return self._hold(character)

    def _hold(self, character: str) -> str:
        self._word += character
        return self._place() if cells(self._word) >= self._width else ""

    def _place(self) -> str:
        """The word, in this line or the next."""
        word, spaces = self._word, self._spaces
        if not word:
            return ""
        self._word = self._spaces = ""
        ending = self._column + cells(spaces) + cells(word)
        if ending > self._width and self._column:
            self._column = cells(word)
            return f"\n{word}"
        self._column = ending
        return spaces + word


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: two for a wide character, none for a mark."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def wrapped(line: str, width: int, indent: int = 2) -> str:
    """A line of words as lines of at most ``width`` cells; all but the first begin with ``indent`` spaces."""
    return "\n".join(
        textwrap.wrap(
            line,
            max(width, 10),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
    )
