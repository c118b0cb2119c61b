r"""Words and phrases as patterns over folded text, and how far a text has come in each.

Text is compared case-folded. A pattern stands in a text where no letter, digit or underscore touches its ends (the
borders of a regular expression's ``\\b`` for ordinary words), or anywhere (``whole=False``). A space in it matches any
run of whitespace.

`Reader` reads a text character by character. Where it stands is a `Place`, a value.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from llmbuilder.errors import ConstraintError


@dataclass(frozen=True, slots=True)
class Pattern:
    """A word or phrase, ``word`` as given and ``folded`` as it is looked for."""

    word: str
    folded: str
    whole: bool = True

    def regex(self, start: int = 0) -> str:
        """Source of a regular expression for what follows the first ``start`` characters, without borders."""
        source = "".join(r"\s+" if c == " " else re.escape(c) for c in self.folded[start:])
        return r"\s*" + source if start and self.folded[start - 1] == " " else source

    def found(self, folded_text: str) -> bool:
        """Whether it stands anywhere in a folded text."""
        source = rf"(?<!\w){self.regex()}(?!\w)" if self.whole else self.regex()
        return re.search(source, folded_text) is not None


def patterns(word: str, *, whole: bool = True) -> tuple[Pattern, ...]:
    """The patterns of a word: accents may be part of a letter or follow it.

    Raises:
        ConstraintError: nothing to look for.
    """
    if not word.strip():
        raise ConstraintError(f"A word or phrase must have at least one character, got {word!r}.")
    folded = (unicodedata.normalize(form, fold(" ".join(word.split()))) for form in ("NFC", "NFD"))
    return tuple(Pattern(word, text, whole) for text in dict.fromkeys(folded))


def fold(text: str) -> str:
    """The text as it is compared."""
    return text.casefold()


def is_word(char: str) -> bool:
    """Whether a character belongs to words: letters, digits, underscore."""
    return char.isalnum() or char == "_"


@dataclass(frozen=True, slots=True)
class Place:
    """How far a text has come.

    Attributes:
        partial: (pattern, characters matched so far); all characters of a whole-word pattern, if it depends on the
            next character whether it is one.
        after_word: the last character belongs to a word.
        after_space: the last character is whitespace.
    """

    partial: frozenset[tuple[int, int]] = frozenset()
    after_word: bool = False
    after_space: bool = False


class Reader:
    """Follows a text through a fixed list of patterns."""

    def __init__(self, looked_for: Iterable[Pattern]) -> None:
        """Look for these; their numbers are their positions."""
        self.patterns = tuple(looked_for)

    def read(self, place: Place, text: str) -> tuple[Place, tuple[int, ...]]:
        """Read folded text; return where it ends and the patterns found, those that the text itself ends with not."""
        found: list[int] = []
        for char in text:
            place = self._step(place, char, found)
        return place, tuple(found)

    def open(self, place: Place) -> tuple[int, ...]:
        """Patterns that the text ends with: found if it ends, or if no word character follows."""
        return tuple(n for n, size in place.partial if size == len(self.patterns[n].folded))

    def _step(self, place: Place, char: str, found: list[int]) -> Place:
        space, word = char.isspace(), is_word(char)
        if space and place.after_space:
            return place
        char = " " if space else char
        partial = set()
        for n, size in place.partial:
            pattern = self.patterns[n]
            if size == len(pattern.folded):
                if not word:
                    found.append(n)
            elif pattern.folded[size] == char:
                partial.add((n, size + 1))
        for n, pattern in enumerate(self.patterns):
            if pattern.folded[0] == char and not (pattern.whole and place.after_word):
                partial.add((n, 1))
        done = {(n, size) for n, size in partial if self._complete(n, size)}
        found += [n for n, _ in done]
        return Place(frozenset(partial - done), word, space)

    def _complete(self, n: int, size: int) -> bool:
        return not self.patterns[n].whole and size == len(self.patterns[n].folded)
