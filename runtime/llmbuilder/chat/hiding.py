"""Texts that are replaced by private characters while a template is rendered."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from llmbuilder.errors import BundleError, ConfigError

FIRST = "\U000f0000"
"""The private character that stands for the first text."""
_PRIVATE = re.compile("([\U000f0000-\U000ffffd])")
_MOST = 0xFFFD


class Hidden:
    """The texts of one rendering that are hidden from the template."""

    def __init__(self) -> None:
        """Nothing is hidden yet."""
        self._texts: list[str] = []

    def hide(self, text: str, spans: Iterable[tuple[int, int]]) -> str:
        """Put a private character for each part of a text from a start up to an end, and for those there were.

        Raises:
            ConfigError: there are more parts than private characters.
        """
        parts, done = [], 0
        for start, end in sorted([*spans, *(match.span() for match in _PRIVATE.finditer(text))]):
            parts += [text[done:start], chr(ord(FIRST) + len(self._texts))]
            self._texts.append(text[start:end])
            done = end
        if len(self._texts) > _MOST:
            raise ConfigError(
                f"The conversation spells out more than {_MOST} control tokens. Leave some of them out."
            )
        return "".join([*parts, text[done:]])

    def split(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """The parts of a rendering in order, each with whether it is one of the hidden texts.

        Raises:
            BundleError: there is a private character that stands for none of them.
        """
        for number, part in enumerate(_PRIVATE.split(rendered)):
            yield (self._shown(part), True) if number % 2 else (part, False)

    def _shown(self, place: str) -> str:
        number = ord(place) - ord(FIRST)
        if number >= len(self._texts):
            raise BundleError(
                f"The model's chat template writes a private character, U+{ord(place):X}: take it out there."
            )
        return self._texts[number]


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value as JSON has it, with every text in it changed, names of its members too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): with_texts(member, change) for name, member in value.items()}
    if isinstance(value, list):
        return [with_texts(member, change) for member in value]
    return value
