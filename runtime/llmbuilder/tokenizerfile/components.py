"""What the four slots of a tokenizer's file have in common: one component, or a sequence of some."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llmbuilder.checks import shown
from llmbuilder.tokenizerfile.places import LONGEST_ADDITION, a_list, a_text, an_object, refuse
from llmbuilder.tokenizerfile.regexes import check_regex

_MOST_COMPONENTS = 64
_MOST_DEPTH = 8
_LARGEST_GROWTH = 16.0
"""How many times longer all replacements of a slot together may make a text."""
_LONGEST_TEXT_PATTERN = 256
_LONGEST_REGEX = 4096
_WITH_PATTERNS = {"Replace", "Split"}

Check = Callable[[Mapping[str, Any], str], float]
"""Looks at a component and says how many times longer it can make a text, as a factor of at least 1."""


class Slot(NamedTuple):
    """What a slot of the file may hold."""

    parts: str
    """The key under which its sequences hold their parts."""
    known: Mapping[str, Check]
    most_alike: int = _MOST_COMPONENTS
    """How many components without patterns may be of one type: each can make letters longer, such as into bytes."""


def check_component(value: Any, place: str, slot: Slot) -> None:
    """Refuse what a slot holds if there are unknown or too many components, or they make texts too long.

    Raises:
        RefusedError: it does.
    """
    if value is None:
        return
    found = list(_flattened(value, place, slot, 0))
    if len(found) > _MOST_COMPONENTS:
        refuse(place, f"has {len(found)} components, more than {_MOST_COMPONENTS},")
    types = [each["type"] for each, _ in found]
    for name in set(types) - _WITH_PATTERNS:
        if types.count(name) > slot.most_alike:
            refuse(place, f"has {name} {types.count(name)} times")
    growth = math.prod(slot.known[each["type"]](each, where) for each, where in found)
    if growth > _LARGEST_GROWTH:
        refuse(place, f"makes texts {growth:.3g} times longer, more than {_LARGEST_GROWTH:g} times,")


def _flattened(value: Any, place: str, slot: Slot, depth: int) -> list[tuple[dict[str, Any], str]]:
    component = an_object(value, place)
    name = component.get("type")
    if name != "Sequence":
        if not isinstance(name, str) or name not in slot.known:
            refuse(place, f"has the unknown component {shown(name)}")
        return [(component, place)]
    if depth == _MOST_DEPTH:
        refuse(place, f"has sequences in sequences, more than {_MOST_DEPTH} deep,")
    parts = a_list(component.get(slot.parts), f"{place}.{slot.parts}", _MOST_COMPONENTS)
    found: list[tuple[dict[str, Any], str]] = []
    for number, part in enumerate(parts):
        if len(found) > _MOST_COMPONENTS:
            break
        found += _flattened(part, f"{place}.{slot.parts}[{number}]", slot, depth + 1)
    return found


def plain(_component: Mapping[str, Any], _place: str) -> float:
    """A component that has no bounds of its own."""
    return 1.0


def check_replace(component: Mapping[str, Any], place: str) -> float:
    """``Replace``: another text for each match of a pattern, which must match something."""
    content = a_text(component.get("content"), f"{place}.content", LONGEST_ADDITION)
    shortest = check_pattern(component.get("pattern"), f"{place}.pattern")
    if shortest == 0:
        refuse(f"{place}.pattern", "replaces what may be nothing")
    return max(1.0, len(content) / shortest)


def check_pattern(value: Any, place: str) -> int:
    """A text or regular expression to look for; how many characters its matches surely have."""
    pattern = an_object(value, place)
    if pattern.keys() == {"String"}:
        return len(a_text(pattern["String"], f"{place}.String", _LONGEST_TEXT_PATTERN))
    if pattern.keys() == {"Regex"}:
        return check_regex(a_text(pattern["Regex"], f"{place}.Regex", _LONGEST_REGEX), f"{place}.Regex")
    return refuse(place, "has neither a text nor a regular expression")
