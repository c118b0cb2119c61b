"""Long texts in pieces, so that no check's time grows faster than its text."""

import re
from collections.abc import Iterator

_CUTS = (re.compile(r"\n+"), re.compile(r"[.!?][\"'”’)]*\s+"), re.compile(r"\s+"))  # noqa: RUF001


def pieces(text: str, most: int) -> Iterator[str]:
    """Cut a text into pieces of at most ``most`` characters, which together are the text.

    Cuts are made at line ends, else behind sentences, else at white space, and inside a word only if there is none in
    the second half of a piece.
    """
    start = 0
    while len(text) - start > most:
        end = _cut(text, start + most // 2, start + most)
        yield text[start:end]
        start = end
    yield text[start:]


def _cut(text: str, least: int, most: int) -> int:
    for pattern in _CUTS:
        ends = [match.end() for match in pattern.finditer(text, least, most)]
        if ends:
            return ends[-1]
    return most
