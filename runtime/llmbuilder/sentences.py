"""Where sentences end, by one rule for all who cut or count them."""

import re

_INSIDE = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-Þ])|(?<=[。！？])")  # noqa: RUF001 (typographic marks)
_FINAL = re.compile(r"[.!?…。！？][\"'”’)\]*_]*$")  # noqa: RUF001 (typographic marks)
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Capt|Gen|Sen|Rev|Jr|Sr|No|vs|etc|Hon|Prof|[A-Z])\.$")
_LONGEST_ABBREVIATION = 7  # with what stands around it


def sentence_ends(text: str) -> list[int]:
    """Ascending positions behind each sentence that another follows, its closing quotes and brackets included.

    A sentence ends at ``. ! ?`` before white space and a capital letter or digit, but not after a common abbreviation
    or an initial. Line breaks count as white space.
    """
    ends = (match.start() + len(match[0].rstrip()) for match in _INSIDE.finditer(text))
    return [end for end in ends if not _is_abbreviated(text, end)]


def is_whole(text: str) -> bool:
    """Whether a text ends where a sentence does, white space behind it not counted."""
    end = len(text.rstrip())
    return _FINAL.search(text, 0, end) is not None and not _is_abbreviated(text, end)


def _is_abbreviated(text: str, end: int) -> bool:
    return _ABBREVIATION.search(text, max(0, end - _LONGEST_ABBREVIATION), end) is not None
