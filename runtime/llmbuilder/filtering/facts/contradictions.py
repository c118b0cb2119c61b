"""Statements of one text that contradict each other."""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from llmbuilder.filtering.facts.numbers import in_digits
from llmbuilder.quality.text import sentences

_VERBS = "is|are|was|were|can|could|has|have|had|does|did|will|would|must|should"
_CLAIM = re.compile(
    rf"^(?P<subject>[^,;:]{{1,80}}?) (?P<verb>{_VERBS})(?P<short>n't|n’t)?(?P<long> not|not)? "  # noqa: RUF001
    r"(?P<predicate>.+)$"
)
_QUESTION = (
    "is",
    "are",
    "was",
    "were",
    "can",
    "do",
    "does",
    "did",
    "who",
    "what",
    "if",
    "when",
    "nothing",
    "nobody",
)
_UNSAID = re.compile(
    r"\b(?:no longer|any ?more|said|says|thought|if|once|sometimes|often|always|never|maybe|perhaps)\b"
)
_PAST = ("was", "were", "had", "did", "could", "would")
_PART_END = re.compile(r"(?:,? (?:and|but|or|so|because|who|which|that|while|when)\b|[,;:(]| - |—).*$")
_DAY = re.compile(
    r"\b(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march|april|may|june|july|august|"
    r"september|october|november|december|[12]\d{3})\b"
)
_ONE_VALUE = re.compile(
    r"\b(?:capital|author|president|king|queen|name|population|height|age|birthplace) of .*$|^my name$"
)
_QUANTITY = re.compile(r"^#(?: years? old| [a-z]+)?$")
_BORN = re.compile(r"^born\b.*\b([12]\d{3})\b")


class Claim(NamedTuple):
    """A simple sentence in lower case, numbers in digits: "the lake" "is" not "deep"."""

    subject: str
    verb: str
    denied: bool
    predicate: str
    sentence: str


def contradictions(text: str) -> Iterator[str]:
    """Pairs of sentences of which one denies the other, or which give what has one value two.

    Only simple sentences with the same subject are compared, word by word. What was need not be any more, so of
    sentences in the past only those that name the same day or year deny each other.
    """
    claims = [claim for sentence in sentences(text) if (claim := parse(sentence)) is not None]
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        groups.setdefault((claim.subject, claim.verb), []).append(claim)
    for group in groups.values():
        for first, second in combinations(group, 2):
            if _deny(first, second) or _differ(first, second):
                yield f"{first.sentence!r} contradicts {second.sentence!r}"


def parse(sentence: str) -> Claim | None:
    """The claim of a sentence; None for a question, a condition, a report, or without a verb that is known here."""
    plain = in_digits(re.sub(r"\s+", " ", sentence)).strip(" .!\"'“”").lower()
    plain = plain.replace("can't", "can not").replace("won't", "will not").replace("cannot", "can not")
    match = _CLAIM.match(plain)
    if match is None or plain.endswith("?") or plain.startswith(_QUESTION) or _UNSAID.search(plain):
        return None
    predicate = re.sub(r"^(?:an?|the) ", "", _PART_END.sub("", match["predicate"]))
    subject = re.sub(r"^(?:an?|the) ", "", match["subject"])
    denied = bool(match["short"] or match["long"])
    return Claim(subject, match["verb"], denied, predicate.strip(), sentence) if predicate.strip() else None


def _deny(first: Claim, second: Claim) -> bool:
    """Whether the claims are equal but for a "not"."""
    timeless = first.verb not in _PAST or _DAY.search(first.predicate) is not None
    return first.denied != second.denied and first.predicate == second.predicate and timeless


def _differ(first: Claim, second: Claim) -> bool:
    """Whether one quantity, or what can only be one, is given two values."""
    if first.denied or second.denied or first.predicate == second.predicate:
        return False
    if _ONE_VALUE.search(first.subject):
        return not _agree(first.predicate, second.predicate)
    births = [_BORN.match(claim.predicate) for claim in (first, second)]
    if births[0] and births[1]:
        return births[0][1] != births[1][1]
    frames = [re.sub(r"\d+(?:\.\d+)?", "#", claim.predicate) for claim in (first, second)]
    same = frames[0].rstrip("s") == frames[1].rstrip("s")
    return same and first.verb not in _PAST and _QUANTITY.match(frames[0]) is not None


def _agree(first: str, second: str) -> bool:
    """Whether two values may be one: one is part of the other, such as a name and a full name."""
    return set(first.split()) <= set(second.split()) or set(second.split()) <= set(first.split())
