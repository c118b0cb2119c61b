"""A language of a few tokens, computed in whole numbers, so that every program finds the same logits to the bit."""

from collections.abc import Sequence

import numpy as np

from llmbuilder.testing import BYTE_VOCAB

_MIX = 0x9E3779B97F4A7C15
_BITS = (1 << 64) - 1


def logits(seed: int, ids: Sequence[int], vocab_size: int) -> np.ndarray:
    """Logits [V], float32 from -4 up to 4, that depend on all ids: no two sequences tie but by chance."""
    state = seed
    for token in ids:
        state = _mixed(state + token + 1)
    draws = [_mixed(state ^ (_MIX * (token + 1))) >> 40 for token in range(vocab_size)]
    return (np.array(draws, np.float32) / np.float32(1 << 21) - 4).astype(np.float32)


def _mixed(value: int) -> int:
    """SplitMix64 (Steele, Lea, Flood 2014)."""
    value = (value + _MIX) & _BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _BITS
    return value ^ (value >> 31)


def lowercase(ids):
    """Letters and spaces, vowels after consonants preferred."""
    logits = np.full(BYTE_VOCAB, -30.0, np.float32)
    logits[ord("a") : ord("z") + 1] = 0
    logits[[ord("a"), ord("e"), ord("o")]] = 4 if ids[-1] not in b"aeo" else -2
    logits[ord(" ")] = 1 if ids[-1] != ord(" ") else -30
    return logits
