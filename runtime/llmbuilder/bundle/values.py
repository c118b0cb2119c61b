"""Values of a JSON document that is not trusted, read by their type and range.

A reader takes a value and where it stands; it gives what belongs there, or raises a ValueError that says both.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from llmbuilder.checks import is_whole

T = TypeVar("T")
Read = Callable[[Any, str], Any]

_LONGEST_SHOWN = 60
_DEEPEST = 4


def record(kind: type[T], readers: Mapping[str, Read]) -> Callable[[Any, str], T]:
    """A dataclass, from an object that has its fields and no others."""
    required = {
        field.name
        for field in fields(kind)  # type: ignore[arg-type]
        if field.default is MISSING and field.default_factory is MISSING
    }

    def read(value: Any, where: str) -> T:
        raw = mapping(value, where)
        place = f"{where}." if where else ""
        if unknown := sorted(raw.keys() - readers.keys()):
            raise ValueError(f"{place}{shown(unknown[0])} is unknown")
        if missing := sorted(required - raw.keys()):
            raise ValueError(f"{place}{missing[0]} is missing")
        return kind(**{name: readers[name](item, f"{place}{name}") for name, item in raw.items()})

    return read


def mapping(value: Any, where: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    return value


def shallow(value: Any, where: str) -> dict[str, Any]:
    """An object whose values are nested a few times at most."""
    if _depth(mapping(value, where)) > _DEEPEST:
        raise wrong(where, f"nested {_DEEPEST} times at most", value)
    text(json.dumps(value, ensure_ascii=False), where)
    return mapping(value, where)


def text(value: Any, where: str) -> str:
    """Text without halves of characters."""
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise wrong(where, "text", value)
    return value


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(where, "true or false", value)
    return value


def count(low: int, high: int = 2**63 - 1) -> Callable[[Any, str], int]:
    """A whole number in a range."""

    def read(value: Any, where: str) -> int:
        if not is_whole(value, low) or int(value) > high:
            raise wrong(where, f"a whole number from {low} to {high}", value)
        return int(value)

    return read


def choice(*options: str) -> Read:
    """One of the texts that are known."""

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in options:
            raise wrong(where, f"one of {', '.join(options)}", value)
        return value

    return read


def sha256(value: Any, where: str) -> str:
    """A hash in lower case."""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise wrong(where, "a SHA-256 of 64 hexadecimal digits", value)
    return value


def optional(read: Read) -> Read:
    """The value or null."""
    return lambda value, where: None if value is None else read(value, where)


def sequence(read: Read) -> Callable[[Any, str], tuple[Any, ...]]:
    """A list of such values."""

    def read_all(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise wrong(where, "a list", value)
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_all


def wrong(where: str, expected: str, value: object) -> ValueError:
    """What to raise for a value that is not what it should be."""
    return ValueError(f"{where or 'the manifest'} must be {expected}, not {shown(value)}")


def shown(value: object) -> str:
    """A value for a message: short, and without control characters."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a huge number"
    written = ascii(value)
    return written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}..."


def _depth(value: object, level: int = 1) -> int:
    """How often objects and lists are nested, counted no further than needed."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if level > _DEEPEST or not inner:
        return level
    return max(_depth(item, level + isinstance(item, dict | list)) for item in inner)
