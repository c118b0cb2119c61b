"""Sentences and words of a text, by rules."""

import functools
import itertools
import re

from llmbuilder.sentences import sentence_ends

_WORD = re.compile(r"[぀-ヿ一-鿿가-힣]|[^\W_぀-ヿ一-鿿가-힣]+(?:['’][^\W_]+)*")  # noqa: RUF001 (typographic marks)
_TOKEN = re.compile(_WORD.pattern + r"|[^\w\s]")
_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""))
_SHORTEST_STEM = 3


def sentences(text: str) -> list[str]:
    """Sentences of a text (see `llmbuilder.sentences`), without the white space between them."""
    text = " ".join(text.split())
    ends = [0, *sentence_ends(text), len(text)]
    parts = (text[start:end].strip() for start, end in itertools.pairwise(ends))
    return [sentence for sentence in parts if sentence]


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
