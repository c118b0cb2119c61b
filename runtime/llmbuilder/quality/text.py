"""Sentences and words of a text, by rules."""

import functools
import re

_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-Þ])|(?<=[。！？])")  # noqa: RUF001 (typographic marks)
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Capt|Gen|Sen|Rev|Jr|Sr|No|vs|etc|Hon|Prof|[A-Z])\. ?$")
_LONGEST_ABBREVIATION = 8  # with what stands around it
_WORD = re.compile(r"[぀-ヿ一-鿿가-힣]|[^\W_぀-ヿ一-鿿가-힣]+(?:['’][^\W_]+)*")  # noqa: RUF001 (typographic marks)
_TOKEN = re.compile(_WORD.pattern + r"|[^\w\s]")
_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""))
_SHORTEST_STEM = 3


def sentences(text: str) -> list[str]:
    """Sentences of a text, without the white space between them.

    A sentence ends at ``. ! ?`` before white space and a capital letter or digit, but not after a common abbreviation
    or an initial. Line breaks count as white space.
    """
    text = " ".join(text.split())
    found: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
        if not _ABBREVIATION.search(text, end - _LONGEST_ABBREVIATION, end):
            found.append(text[start:end].strip())
            start = end
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def words(text: str) -> list[str]:
    """Words in lower case; characters of scripts without spaces count as words."""
    return [word.lower() for word in _WORD.findall(text)]


def tokens(text: str) -> list[str]:
    """Words as written, and punctuation marks."""
    return _TOKEN.findall(text)


@functools.lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A lower-case word without its commonest English endings, in the manner of Harman's S stemmer (1991)."""
    word = re.sub(r"['’]s?$", "", word)  # noqa: RUF001 (typographic marks)
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM and not word.endswith("ss"):
            word = word.removesuffix(ending) + instead
            break
    return word.removesuffix("e") if len(word) > _SHORTEST_STEM + 1 else word
