"""Fluency from text statistics: are words in an order, and letters in words, as English has them?"""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from llmbuilder.arrays import Ids
from llmbuilder.quality.lexicon import Lexicon, lexicon, log_odds, share
from llmbuilder.quality.text import tokens

SUFFIXES = ("ing", "ed", "ly", "tion", "ness", "ment", "ous", "al", "er", "est", "ty", "en", "s")
"""Classes of words that are not frequent: by ending, then capitalized, number, mark, other."""
SPECIAL = ("<capital>", "<number>", "<mark>", "<other>", *(f"<-{suffix}>" for suffix in SUFFIXES))
BORDER, OTHER = 0, 27
SENTENCE_PRIOR = 3.0
"""Log-odds that what stands between two full stops is a sentence, before its words are looked at: 20 to 1."""


def fluency(text: str) -> float:
    """How much a text reads like English prose, 0..1; nan without two words or marks.

    Two measures, weighed by a logistic map: the pointwise mutual information of neighbouring words under a class-based
    bigram model (Brown et al., 1992), in which frequent words are classes of their own and others share those of their
    endings; and the cross-entropy of the letters of its words under a trigram model (Shannon, 1951). The first falls
    when words are shuffled, the second when they are not words. English only; it does not judge grammar.
    """
    found = tokens(text)
    if len(found) < 2:
        return math.nan
    expected = lexicon()
    return share(log_odds("fluency", word_order(found, expected), spelling(found, expected)))


def word_order(found: Sequence[str], known: Lexicon) -> float:
    """Mean pointwise mutual information (nats) of neighbouring tokens, at least two."""
    return order_evidence(found, known) / (len(found) - 1)


def order_evidence(found: Sequence[str], known: Lexicon) -> float:
    """Sum of the pointwise mutual information (nats) of neighbouring tokens.

    It is the log-likelihood ratio of the bigram model against the same words drawn in any order.
    """
    numbers = word_classes(found, known.classes)
    return float(known.order[numbers[:-1], numbers[1:]].sum())


def share_in_order(parts: Sequence[str]) -> float:
    """Share of a text, by length, that stands in sentences whose words are in order, 0..1.

    Each sentence counts with its probability of being one, by the likelihood ratio (Neyman and Pearson, 1933) of the
    class-based bigram model (Brown et al., 1992) against words without order. Prose has 0.95 and more, shuffled words
    seldom 0.3.
    """
    known = lexicon()
    chances = [share(SENTENCE_PRIOR + order_evidence(tokens(part), known)) for part in parts]
    return float(np.average(chances, weights=[len(part) for part in parts]))


def spelling(found: Sequence[str], known: Lexicon) -> float:
    """Mean log-probability (nats) of the letters of a text's words and marks."""
    letters = codes(found)
    return float(known.spelling[letters[:-2], letters[1:-1], letters[2:]].mean())


def word_classes(found: Sequence[str], classes: Mapping[str, int]) -> list[int]:
    """The class of each token: that of the word itself if it is frequent, or that of its kind."""
    return [_class(token, classes) for token in found]


def _class(token: str, classes: Mapping[str, int]) -> int:
    own = classes.get(token.lower())
    return classes[_kind(token)] if own is None else own


def _kind(token: str) -> str:
    if any(character.isdigit() for character in token):
        return "<number>"
    if not token[0].isalpha():
        return "<mark>"
    if token[0].isupper():
        return "<capital>"
    suffix = next((s for s in SUFFIXES if token.endswith(s) and len(token) > len(s) + 2), None)
    return "<other>" if suffix is None else f"<-{suffix}>"


def codes(found: Sequence[str]) -> Ids:
    """Letters of tokens as numbers [n], two borders (0) before each word: a to z are 1 to 26, anything else is 27."""
    joined = "  " + "  ".join(re.sub(r"['’]", "", token).lower() for token in found) + "  "  # noqa: RUF001 (typographic marks)
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.int64)
    letters = points - ord("a") + 1
    inside = (letters >= 1) & (letters < OTHER)
    return np.where(points == ord(" "), BORDER, np.where(inside, letters, OTHER))
