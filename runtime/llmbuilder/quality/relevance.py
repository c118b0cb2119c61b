"""Relevance from text statistics: does a text go on where its prompt ends?"""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from llmbuilder.arrays import DoubleArray
from llmbuilder.quality.lexicon import Lexicon, lexicon, log_odds, share
from llmbuilder.quality.surface import surface
from llmbuilder.quality.text import sentences, stem, words

_REACH = 3.0
_RARITY = 1.5


def relevance(text: str, prompt: str) -> float:
    """How well a text continues a prompt, 0..1; nan where one of them has no words.

    Two cosines: of their stems, weighted by frequency and inverse document frequency (Salton and Buckley, 1988),
    sentences counting less the farther they are from the border between prompt and text; and of their style (person,
    tense, punctuation), against that of average prose. A logistic map, fitted on other texts, has 0.5 between a
    passage's own continuation and another of the same author. English only.
    """
    raw = raw_relevance(text, prompt, lexicon())
    return math.nan if raw is None else share(log_odds("relevance", *raw))


def raw_relevance(text: str, prompt: str, known: Lexicon) -> tuple[float, float] | None:
    """Cosines of vocabulary and of style; None without words."""
    after, before = sentences(text), sentences(prompt)[::-1]
    if not words(text) or not words(prompt):
        return None
    vocabulary = _cosine(_vocabulary(after, known), _vocabulary(before, known))
    return vocabulary, _style_cosine(_mean_style(after, known), _mean_style(before, known))


def _vocabulary(parts: Sequence[str], known: Lexicon) -> dict[str, float]:
    """Weight of each stem; the first sentence is nearest to the border."""
    counts: defaultdict[str, float] = defaultdict(float)
    for distance, part in enumerate(parts):
        nearness = math.exp(-distance / _REACH)
        for word in words(part):
            counts[stem(word)] += nearness
    return {
        word: math.log1p(count) * max(known.idf.get(word, known.unknown_idf), 0) ** _RARITY
        for word, count in counts.items()
    }


def _cosine(a: dict[str, float], b: dict[str, float]) -> float:
    dot = math.fsum(weight * b[word] for word, weight in a.items() if word in b)
    norms = math.hypot(*a.values()) * math.hypot(*b.values())
    return dot / norms if norms else 0.0


def _mean_style(parts: Sequence[str], known: Lexicon) -> DoubleArray:
    mean: DoubleArray = np.mean([surface(part) for part in parts], axis=0)
    return (mean - known.style_mean) / known.style_scale


def _style_cosine(a: DoubleArray, b: DoubleArray) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
