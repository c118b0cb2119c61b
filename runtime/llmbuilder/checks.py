"""Checks of arguments that several functions take."""

import reprlib
from collections.abc import Iterable
from numbers import Integral
from os import PathLike

from llmbuilder.errors import ConfigError

StrPath = str | PathLike[str]
"""What every argument that names a file may be."""


def check_text(name: str, value: object) -> str:
    """The text that an argument must be.

    Raises:
        ConfigError: not a string, or one with half a character, which no encoding has.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {reprlib.repr(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name} has half a character, {value[error.start]!r}, at position {error.start}. "
            "Decode its bytes as UTF-8 with errors='replace'."
        ) from error
    return value


def check_texts(name: str, value: object) -> tuple[str, ...]:
    """The texts that an argument must be a list of; a single text is none.

    Raises:
        ConfigError: anything else.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} must be a list of texts, got {reprlib.repr(value)}.")
    return tuple(check_text(f"An entry of {name}", text) for text in value)


def check_count(name: str, value: object, least: int = 1) -> int:
    """The whole number that an argument must be.

    Raises:
        ConfigError: not one, or less than ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {reprlib.repr(value)}.")
    return int(value)
