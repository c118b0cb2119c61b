"""Coherence from text statistics: are neighbouring sentences better neighbours than any two of the same text?"""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from llmbuilder.arrays import DoubleArray
from llmbuilder.quality.fluency import share_in_order
from llmbuilder.quality.lexicon import Lexicon, lexicon, log_odds, share
from llmbuilder.quality.surface import surface
from llmbuilder.quality.text import sentences, stem, words

MOST_SENTENCES = 400
MOST_CHARACTERS = 100_000
"""Sentences of books have a hundred; memory grows with how many different words they have."""
LEAST_SENTENCES = 3
_FUNCTION_WORD = 2.5
_CONTENT_WORD = 1.5
_RARE_WORD = 4.0
_SMALL_START = re.compile(r"[.!?…][\"'”’)\]]?\s+[a-z]")  # noqa: RUF001 (typographic marks)


def coherence(text: str) -> float:
    """How far sentences, and their order, make a text, 0..1; nan below three sentences: there is no order to judge.

    Lapata's probabilistic text structuring (ACL 2003): every pair of sentences gets the log-odds that the second
    follows the first, from their features (person, tense, reference, dialogue, connectives) and from the vocabulary
    they share, as in Barzilay and Lapata's entity cohesion (2008). A text's evidence is how far the mean over its
    neighbours lies above the mean over all its pairs, as in Mantel's test (1967): the text is its own yardstick.

    A logistic map, fitted on other texts, turns the evidence into 0..1: 0.72 without any, and at 0.7 most real passages
    of 40 sentences pass and few shuffled ones. Ten sentences have little evidence: most texts of that length stay near
    0.72. What are no sentences cannot be in order: the result is multiplied by
    `llmbuilder.quality.fluency.share_in_order`, near 1 in prose and near 0 where words are shuffled. Of a long text
    the first 400 sentences within 100,000 characters count. English only.
    """
    parts = cut(text[:MOST_CHARACTERS])[:MOST_SENTENCES]
    if len(parts) < LEAST_SENTENCES:
        return math.nan
    return share_in_order(parts) * share(order_log_odds(parts))


def cut(text: str) -> list[str]:
    """Sentences of a text; if they are too few to judge, those that begin with a small letter count too."""
    parts = sentences(text)
    if len(parts) >= LEAST_SENTENCES:
        return parts
    return sentences(_SMALL_START.sub(lambda start: start[0].upper(), text))


def order_log_odds(parts: Sequence[str]) -> float:
    """Log-odds that sentences, at least three, are in their order."""
    odds = pair_log_odds(lexicon(), parts)
    return log_odds("coherence", *evidence(surplus(odds), len(parts)))


def evidence(standard_errors: float, count: int) -> tuple[float, float]:
    """Terms of the log-likelihood ratio of two normal distributions whose means differ by sqrt(count) times a constant.

    With a surplus of z standard errors over n sentences, log N(z; m sqrt(n), 1) - log N(z; 0, 1) is
    m z sqrt(n) - m^2 n / 2; the map has the weights.
    """
    return standard_errors * math.sqrt(count), float(count)


def surplus(odds: DoubleArray) -> float:
    """Standard errors by which the superdiagonal of a [n, n] matrix exceeds its off-diagonal mean."""
    count = len(odds)
    others = odds[~np.eye(count, dtype=bool)]
    spread = others.std()
    if spread < 1e-9:  # all sentences are alike: any order is as good
        return 0.0
    return float((np.diagonal(odds, 1).mean() - others.mean()) / spread * math.sqrt(count - 1))


def pair_log_odds(known: Lexicon, parts: Sequence[str]) -> DoubleArray:
    """Log-odds, up to a constant, that sentence j follows sentence i: [n, n]."""
    features = centred_style(parts, known.style_scale)
    shared = overlaps(parts, known.idf, known.unknown_idf)
    odds: DoubleArray = features @ known.succession @ features.T + np.tensordot(known.overlap, shared, axes=1)
    return odds


def centred_style(parts: Sequence[str], scale: DoubleArray) -> DoubleArray:
    """Features of sentences against the mean of their text: [n, 42]."""
    features = np.stack([surface(part) for part in parts])
    centred: DoubleArray = (features - features.mean(axis=0)) / scale
    return centred


def overlaps(parts: Sequence[str], idf: Mapping[str, float], unknown: float) -> DoubleArray:
    """Vocabulary that every two sentences share, in four ways: [4, n, n].

    Cosine of idf-weighted stems; content words weighted by their rarity in this text; number of rare words; cosine of
    function words.
    """
    stems = [{stem(word) for word in words(part)} for part in parts]
    vocabulary = {word: number for number, word in enumerate(sorted(set().union(*stems)))}
    present = np.zeros((len(parts), len(vocabulary)))
    for row, found in enumerate(stems):
        present[row, [vocabulary[word] for word in found]] = 1
    weight = np.array([idf.get(word, unknown) for word in vocabulary])
    used = present.sum(axis=0)
    rarity = np.where(used > 1, np.log(len(parts) / np.maximum(used, 1)), 0) * (weight > _CONTENT_WORD)
    weighted = present * np.maximum(weight, 0)
    length = np.linalg.norm(weighted, axis=1) + 1e-9
    local = present * np.sqrt(rarity)
    rare = present * (weight > _RARE_WORD)
    return np.stack(
        [
            _cosine(weighted),
            3 * (local @ local.T) / np.sqrt(length[:, None] * length[None]),
            np.minimum(rare @ rare.T, 3),
            _cosine(present * (weight < _FUNCTION_WORD)),
        ]
    )


def _cosine(rows: DoubleArray) -> DoubleArray:
    unit: DoubleArray = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)
    return unit @ unit.T
