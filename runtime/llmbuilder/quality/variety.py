"""Repetition and diversity of words."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from llmbuilder.quality.text import words

NGRAM = 4
WINDOW = 50


def repetition(text: str) -> float:
    """Share of 4-grams of words that have occurred before, 0..1: seq-rep-4 of Welleck et al. (2020); 0 is none.

    A text of fewer than four words has shorter n-grams; without a word there is nothing to judge (nan).
    """
    return repeated_share(words(text))


def repeated_share(said: Sequence[str], size: int = NGRAM) -> float:
    """Share of the n-grams of a sequence that have occurred before; nan of an empty one."""
    size = min(size, len(said))
    if size == 0:
        return math.nan
    ngrams = list(zip(*(said[start:] for start in range(size)), strict=False))
    return 1 - len(set(ngrams)) / len(ngrams)


def diversity(text: str) -> float:
    """Moving-average type-token ratio (Covington and McFall, 2010), 0..1; nan without a word.

    The share of different words within 50 neighbouring ones, averaged over all such windows, so that long texts are
    not punished for their length.
    """
    spoken = words(text)
    if not spoken:
        return math.nan
    window = min(WINDOW, len(spoken))
    inside = Counter(spoken[:window])
    kinds = [len(inside)]
    for left, entering in zip(spoken, spoken[window:], strict=False):
        inside[entering] += 1
        inside[left] -= 1
        if not inside[left]:
            del inside[left]
        kinds.append(len(inside))
    return float(np.mean(kinds)) / window
