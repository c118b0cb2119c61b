"""Likeness to a reference text."""

import math
from collections.abc import Sequence
from typing import Any

from llmbuilder.quality.text import words


def bleu(text: str, reference: str) -> float:
    """Sentence BLEU (Papineni et al., 2002) as sacrebleu computes it (13a tokens, exponential smoothing), 0..1.

    Raises:
        ImportError: the extra ``metrics`` is not installed.
    """
    metric = _sacrebleu().BLEU(effective_order=True)
    return float(metric.sentence_score(text, [reference]).score) / 100


def chrf(text: str, reference: str) -> float:
    """Character n-gram F-score chrF2 (Popović, 2015) as sacrebleu computes it, 0..1.

    Raises:
        ImportError: the extra ``metrics`` is not installed.
    """
    return float(_sacrebleu().CHRF().sentence_score(text, [reference]).score) / 100


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L (Lin, 2004): F1 of the longest common subsequence of words, without stemming, 0..1."""
    said, expected = words(text), words(reference)
    if not said or not expected:
        return math.nan
    return 2 * common_subsequence(said, expected) / (len(said) + len(expected))


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, by the bit-parallel method of Hyyrö (2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(b)) - 1
    unmatched = full
    for word in a:
        hit = unmatched & places.get(word, 0)
        unmatched = ((unmatched + hit) | (unmatched - hit)) & full
    return len(b) - unmatched.bit_count()


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        from llmbuilder.distribution import install_line

        raise ImportError(f"BLEU and chrF need sacrebleu. Run: {install_line('metrics')}") from error
    return metrics
