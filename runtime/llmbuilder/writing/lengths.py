"""Where a text may end: words counted, sentences found."""

import re
from bisect import bisect_left

MOST_OVER = 1.5
"""A text that finds no end of a sentence goes on to this multiple of its length."""
_WORD = re.compile(r"\S+")
_ABBREVIATION = r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])"
_MARK = rf"(?:{_ABBREVIATION}\.|(?<![.…!?])(?:[.…!?]*[!?…]|\.{{2,}}))[\"'”’)\]*_]*"  # noqa: RUF001 (quotes of texts)
_END = re.compile(rf"{_MARK}(?=\s|$)")
_END_INSIDE = re.compile(rf"{_MARK}(?=\s+\S)")


def count_words(text: str) -> int:
    """Runs of characters that are not white space."""
    return sum(1 for _ in _WORD.finditer(text))


def is_long_enough(text: str, length: int) -> bool:
    """Whether a growing text has an end of a sentence at ``length`` words or later, or is far beyond."""
    words = count_words(text)
    if words < length:
        return False
    last = list(_END_INSIDE.finditer(text))
    return words >= MOST_OVER * length or (bool(last) and count_words(text[: last[-1].end()]) >= length)


def cut_near(text: str, length: int) -> str:
    """Cut a text at the end of the sentence nearest to ``length`` words, or at ``length`` words if it has none near.

    Near is within half the length: a text without full stops is not cut to nothing.
    """
    words = list(_WORD.finditer(text))
    starts = [word.start() for word in words]
    ends = [0, *(match.end() for match in _END.finditer(text))]
    off, nearest = min((abs(bisect_left(starts, end) - length), end) for end in ends)
    if off <= length / 2:
        return text[:nearest]
    return text[: words[length - 1].end()] if len(words) > length else text.rstrip()


def cut_at_last_sentence(text: str) -> str:
    """The text up to the end of its last whole sentence; all of it if it has none."""
    ends = [match.end() for match in _END.finditer(text)]
    return text[: ends[-1]] if ends else text.rstrip()
