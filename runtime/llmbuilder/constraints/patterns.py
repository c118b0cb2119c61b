r"""Words and phrases as patterns over folded text.

Text is compared case-folded. A pattern stands in a text where no letter, digit or underscore touches its ends (the
borders of a regular expression's ``\\b`` for ordinary words), or anywhere (``whole=False``). A space in it matches any
run of whitespace.
"""

import re
import unicodedata
from dataclasses import dataclass

from llmbuilder.errors import ConstraintError


@dataclass(frozen=True, slots=True)
class Pattern:
    """A word or phrase, ``word`` as given and ``folded`` as it is looked for."""

    word: str
    folded: str
    whole: bool = True

    def found(self, folded_text: str) -> bool:
        """Whether it stands anywhere in a folded text."""
        source = "".join(r"\s+" if c == " " else re.escape(c) for c in self.folded)
        return re.search(rf"(?<!\w){source}(?!\w)" if self.whole else source, folded_text) is not None


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
