"""The checks, each by itself: a text and its limit in, a score and perhaps a failure out."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from llmbuilder.filtering.clock import Clock
from llmbuilder.filtering.facts import find_errors
from llmbuilder.filtering.patterns import matches
from llmbuilder.filtering.personal import find_personal
from llmbuilder.filtering.scripts import foreign_letters
from llmbuilder.quality.coherence import coherence
from llmbuilder.quality.variety import repetition
from llmbuilder.showing import counted


class Finding(NamedTuple):
    """What a check measured, and what is wrong if anything is."""

    score: float
    failure: str | None = None


def check_min_length(text: str, least: int) -> Finding:
    """Score: characters without white space at both ends."""
    length = len(text.strip())
    return Finding(length, f"{counted(length, 'character')}, fewer than {least}" if length < least else None)


def check_max_length(text: str, most: int) -> Finding:
    """Score: characters without white space at both ends."""
    length = len(text.strip())
    return Finding(length, f"{counted(length, 'character')}, more than {most}" if length > most else None)


def check_repetition(text: str, most: float) -> Finding:
    """Score: `llmbuilder.quality.variety.repetition`, nan without a word, which passes."""
    score = repetition(text)
    return Finding(score, f"repetition {score:.2f}, above {most}" if score > most else None)


def check_coherence(text: str, least: float) -> Finding:
    """Score: `llmbuilder.quality.coherence.coherence`, nan for a text too short to judge, which passes."""
    score = coherence(text)
    return Finding(score, f"coherence {score:.2f}, below {least}" if score < least else None)


def check_personal(text: str) -> Finding:
    """Score: how many pieces of personal data there are. The failure names their kinds, never themselves."""
    found = find_personal(text)
    kinds = sorted({piece.kind for piece in found})
    return Finding(len(found), f"it has {_listed(kinds)}" if found else None)


def check_patterns(text: str, patterns: Sequence[str], clock: Clock) -> Finding:
    """Score: how many of the patterns match."""
    matching = [pattern for pattern in patterns if matches(pattern, text, clock)]
    return Finding(len(matching), f"{_listed(list(map(repr, matching)))} matches" if matching else None)


def check_scripts(text: str, allowed: Sequence[str]) -> Finding:
    """Score: share of the letters that are of allowed scripts, nan without letters, which passes."""
    letters = sum(map(str.isalpha, text))
    if not letters:
        return Finding(math.nan)
    kinds, count = foreign_letters(text, frozenset(allowed))
    shown = _listed(list(map(repr, kinds[:5])))
    return Finding(
        1 - count / letters,
        f"{counted(count, 'letter')} of other scripts, such as {shown}" if count else None,
    )


def check_facts(text: str, prompt: str | None, clock: Clock) -> Finding:
    """Score: how many errors `llmbuilder.filtering.facts.find_errors` finds."""
    errors = find_errors(text, prompt, clock)
    return Finding(len(errors), "; ".join(errors) or None)


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts)
