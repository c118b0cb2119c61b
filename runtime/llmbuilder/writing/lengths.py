"""Where a text may end: words counted, sentences found."""

import re
from bisect import bisect_left

from llmbuilder.sentences import is_whole, sentence_ends

MOST_OVER = 1.5
"""A text that finds no end of a sentence goes on to this multiple of its length."""
_WORD = re.compile(r"\S+")


def count_words(text: str) -> int:
    """Runs of characters that are not white space."""
    return sum(1 for _ in _WORD.finditer(text))


def is_long_enough(text: str, length: int) -> bool:
    """Whether a growing text has an end of a sentence at ``length`` words or later, or is far beyond."""
    words = count_words(text)
    if words < length:
        return False
    ends = sentence_ends(text)
    return words >= MOST_OVER * length or (bool(ends) and count_words(text[: ends[-1]]) >= length)


def cut_near(text: str, length: int) -> str:
    """Cut a text at the end of the sentence nearest to ``length`` words, or at ``length`` words if it has none near.

    Near is within half the length: a text without full stops is not cut to nothing.
    """
    words = list(_WORD.finditer(text))
    starts = [word.start() for word in words]
    off, nearest = min((abs(bisect_left(starts, end) - length), end) for end in (0, *_ends(text)))
    if off <= length / 2:
        return text[:nearest]
    return text[: words[length - 1].end()] if len(words) > length else text.rstrip()


def cut_at_last_sentence(text: str) -> str:
    """The text up to the end of its last whole sentence; all of it if it has none."""
    ends = _ends(text)
    return text[: ends[-1]] if ends else text.rstrip()


def _ends(text: str) -> list[int]:
    """Where sentences end, the last included."""
    return [*sentence_ends(text), *([len(text.rstrip())] if is_whole(text) else [])]
