"""Names and numbers of a text that differ from those its prompt gave."""

import re
from collections.abc import Iterator

from llmbuilder.filtering.facts.numbers import in_digits
from llmbuilder.quality.text import sentences

_EVENT = re.compile(
    r"\b(founded|built|established|opened|discovered|invented|published|painted|born) (?:back )?in ([12]\d{3})\b",
    re.IGNORECASE,
)
_COUNT = re.compile(r"(?<![\w.$€£-])(\d+) (?:\w+ ){0,1}?([a-z]{3,}s)\b")
_NAMED = re.compile(r"\b([a-z]+),? (?:named|called) ([A-Z][\w-]+)")
_OWN_NAME = re.compile(r"\b(?:[Mm]y name is|[Yy]our name is|[Yy]ou are called) ([A-Z][\w-]+)")
_CHANGE = re.compile(
    r"\b(?:more|another|other|extra|only|first|last|later|left|next|each|every|ago|about|some|of (?:the|them)|"
    r"gave|gives?|took|takes?|after|lost|lose|bought|buy|buys|sold|ate|eats?|added|add|dropped|new|in [12]\d{3})\b",
    re.IGNORECASE,
)
_UNITS = (
    "years", "months", "weeks", "days", "hours", "minutes", "seconds", "times", "miles", "words", "sentences",
)  # fmt: skip


def against_prompt(text: str, prompt: str) -> Iterator[str]:
    """What the text says otherwise than its prompt: years of events, names, and numbers of things.

    A number of things counts only if the text never gives the prompt's and the sentence speaks of no change, such as
    buying or losing some: who has three coins may well have two soon.
    """
    yield from _other_years(text, prompt)
    yield from _other_names(text, prompt)
    yield from _other_counts(in_digits(text), in_digits(prompt))


def _other_years(text: str, prompt: str) -> Iterator[str]:
    given = {event.lower(): year for event, year in _EVENT.findall(prompt)}
    told: dict[str, list[str]] = {}
    for event, year in _EVENT.findall(text):
        told.setdefault(event.lower(), []).append(year)
    for event, years in told.items():
        if event in given and given[event] not in years:
            yield f"{event} in {years[0]}, but in {given[event]} by the prompt"


def _other_names(text: str, prompt: str) -> Iterator[str]:
    given = dict(_NAMED.findall(prompt))
    for thing, name in _NAMED.findall(text):
        if given.get(thing, name) != name:
            yield f"the {thing} is named {name}, but {given[thing]} in the prompt"
    own = _OWN_NAME.search(prompt)
    told = _OWN_NAME.search(text)
    if own and told and own[1] != told[1]:
        yield f"the name is {told[1]}, but {own[1]} in the prompt"


def _other_counts(text: str, prompt: str) -> Iterator[str]:
    given = {thing: count for count, thing in _COUNT.findall(prompt) if thing not in _UNITS}
    known = {count for count, _ in _COUNT.findall(text)}
    for sentence in sentences(text):
        if _CHANGE.search(sentence):
            continue
        for count, thing in _COUNT.findall(sentence):
            if thing in given and count != given[thing] and given[thing] not in known:
                yield f"{count} {thing}, but {given[thing]} in the prompt"
