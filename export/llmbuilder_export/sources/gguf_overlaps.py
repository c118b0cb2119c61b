"""Tokens that are found in a text before it is split, of which the leftmost is not always the longest."""

from collections import defaultdict
from collections.abc import Iterator, Sequence


def overlap(tokens: Sequence[str]) -> tuple[str, str] | None:
    """Two tokens that a text can hold so that one begins before the other ends, and the second is taken by length.

    The library takes the leftmost token and the longest of those; llama.cpp the longest (in UTF-8) of all, of equally
    long ones any (``tokenizer_st_partition`` in its ``llama-vocab.cpp``).
    """
    known = set(tokens)
    for text, second in _laid_over(tokens):
        first = next(text[:end] for end in range(len(text), 0, -1) if text[:end] in known)
        if first != second and len(first.encode()) <= len(second.encode()):
            return first, second
    return None


def _laid_over(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each text of two tokens of which the second begins in the first and ends behind it, and that second one."""
    begun = defaultdict(list)
    for token in tokens:
        for end in range(1, len(token)):
            begun[token[:end]].append(token)
    for token in tokens:
        for at in range(1, len(token)):
            for second in begun.get(token[at:], ()):
                yield token[:at] + second, second
