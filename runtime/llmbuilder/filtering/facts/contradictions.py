"""Statements of one text that contradict each other."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from llmbuilder.filtering.facts.numbers import in_digits
from llmbuilder.quality.text import sentences

_LONGEST = 2000  # characters of a sentence that may still be a simple one
_VERBS = "is|are|was|were|can|could|has|have|had|does|did|will|would|must|should"
_CLAIM = re.compile(
    rf"^(?P<subject>[^,;:]{{1,80}}?) (?P<verb>{_VERBS})(?P<short>n't|n’t)?(?P<long> not|not)? "  # noqa: RUF001
    r"(?P<predicate>.+)$"
)
_QUESTION = (
    "is", "are", "was", "were", "can", "do", "does", "did", "who", "what", "if", "when", "nothing", "nobody",
)  # fmt: skip
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


def contradictions(text: str, tick: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Pairs of sentences of which one denies the other, or which give what has one value two.

    Only simple sentences with the same subject are compared, word by word, each with the first that says something of
    the same. What was need not be any more, so of sentences in the past only those that name the same day or year
    deny each other. ``tick`` is called at each sentence.
    """
    said: dict[tuple[str, ...], Claim] = {}
    for sentence in sentences(text):
        tick()
        claim = parse(sentence) if len(sentence) <= _LONGEST else None
        if claim is None:
            continue
        about = claim.subject, claim.verb
        first = said.setdefault((*about, claim.predicate), claim)
        if _deny(first, claim):
            yield f"{first.sentence!r} contradicts {claim.sentence!r}"
        property_, value = _measure(claim)
        if value:
            first = said.setdefault((*about, "has", property_), claim)
            if not _agree(_measure(first)[1], value):
                yield f"{first.sentence!r} contradicts {claim.sentence!r}"


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
    """Whether claims of the same say opposite things."""
    timeless = first.verb not in _PAST or _DAY.search(first.predicate) is not None
    return first.denied != second.denied and timeless


def _measure(claim: Claim) -> tuple[str, str]:
    """A quantity, or what can only be one, and the value that a claim gives it; nothing if it gives none."""
    frame = re.sub(r"\d+(?:\.\d+)?", "#", claim.predicate)
    if claim.denied:
        return "", ""
    if _ONE_VALUE.search(claim.subject):
        return "value", claim.predicate
    if birth := _BORN.match(claim.predicate):
        return "birth", birth[1]
    counts = claim.verb not in _PAST and _QUANTITY.match(frame)
    return (frame.rstrip("s"), claim.predicate) if counts else ("", "")


def _agree(first: str, second: str) -> bool:
    """Whether two values may be one: one is part of the other, such as a name and a full name."""
    return set(first.split()) <= set(second.split()) or set(second.split()) <= set(first.split())
