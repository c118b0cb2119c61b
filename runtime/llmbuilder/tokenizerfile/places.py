"""Values of a tokenizer's file, and errors that say where in it they stand."""

from typing import Any, NoReturn

from llmbuilder.checks import is_whole, shown

LARGEST_ID = (1 << 22) - 1
"""Sixteen times the largest vocabulary of a model."""
LONGEST_PIECE = 16_384
"""Characters of one token; the longest of models are some hundred spaces or line ends."""
LONGEST_ADDITION = 64
"""Characters that may be put before, behind or between what stands in a text."""


class RefusedError(ValueError):
    """What a tokenizer's file is or does that none may; the message goes on where the file's name ends."""


def refuse(place: str, what: str) -> NoReturn:
    """Raise `RefusedError` for what stands at ``place``."""
    raise RefusedError(f"{what} at {place}")


def an_object(value: Any, place: str) -> dict[str, Any]:
    """An object of JSON."""
    return value if isinstance(value, dict) else refuse(place, f"has no object but {shown(value)}")


def a_list(value: Any, place: str, most: int) -> list[Any]:
    """A list that is not too long."""
    if not isinstance(value, list):
        refuse(place, f"has no list but {shown(value)}")
    return value if len(value) <= most else refuse(place, f"has {len(value)} entries, more than {most},")


def a_text(value: Any, place: str, most: int, least: int = 0) -> str:
    """A text that is neither too long nor too short, and has no half characters."""
    if not isinstance(value, str):
        refuse(place, f"has no text but {shown(value)}")
    if not least <= len(value) <= most:
        refuse(place, f"has {len(value)} characters, not {least} to {most},")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(place, "has half a character")
    return value


def a_number(value: Any, place: str, most: int, least: int = 0) -> int:
    """A whole number within bounds."""
    if not is_whole(value, least) or int(value) > most:
        refuse(place, f"has {shown(value)}, no whole number from {least} to {most},")
    return int(value)
