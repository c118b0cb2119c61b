"""Checks of arguments that several functions take."""

import difflib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, SupportsInt, TypeGuard

from llmbuilder.errors import ConfigError, TokenizerError

StrPath = str | PathLike[str]
"""What every argument that names a file may be."""
_PROMPTS = {"input", "inputs", "input_text", "message", "prompt", "prompts", "query", "text", "texts"}
_SHOWN = 80
_TOO_LARGE = 10**400  # for a message


def shown(value: object) -> str:
    """A value as it stands in a message: its `repr`, of which 80 characters at most."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (more digits, or lists in lists, than Python writes; or a class of somebody else)
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[-1]}"


def is_whole(value: object, least: int) -> TypeGuard[SupportsInt]:
    """Whether a value is a whole number of at least ``least``, and no bool."""
    return not isinstance(value, bool) and isinstance(value, Integral) and least <= int(value) < _TOO_LARGE


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list or the like, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def is_many(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether a value can be gone through, and is no text nor mapping."""
    if isinstance(value, str | bytes | bytearray | Mapping):
        return False
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:  # an array without dimensions has the method all the same
        return False
    return True


def nearest(name: str, known: Collection[str]) -> str:
    """Which of the known names may be meant, as a question; empty if none is near."""
    name = name[:_SHOWN]  # what is longer is near to nothing, and would take long to compare
    begun = [each for each in known if len(name) > 2 and each.startswith(name)]
    close = _close(name, known, 0.8) or begun or _close(name, known, 0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def _close(name: str, known: Collection[str], cutoff: float) -> list[str]:
    return difflib.get_close_matches(name, known, n=1, cutoff=cutoff)


def check_text(name: str, value: object) -> str:
    """The text that an argument must be.

    Raises:
        ConfigError: not a string, or one with half a character, which no encoding has.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name} has half a character, {value[error.start]!r}, at position {error.start}. "
            "Decode its bytes as UTF-8 with errors='replace'."
        ) from error
    return value


def check_path(name: str, value: object) -> Path:
    """The path that an argument must be, whether anything is there or not.

    Raises:
        ConfigError: no path, or one that this system cannot have.
    """
    try:
        path = Path(value)  # type: ignore[arg-type]
        path.lstat()
    except FileNotFoundError:
        return path
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(f"{name} must be a path of this system, got {shown(value)}: {error}.") from error
    return path


def check_texts(name: str, value: object) -> tuple[str, ...]:
    """The texts that an argument must be a list of; a single text is none.

    Raises:
        ConfigError: anything else.
    """
    if not is_many(value):
        raise ConfigError(f"{name} must be a list of texts, got {shown(value)}.")
    return tuple(check_text(f"An entry of {name}", text) for text in value)


def check_call(argument: str, given: object, tokenizer_path: object, names: Iterable[str]) -> None:
    """Find the commonest mistakes in a call with a prompt: in the tokenizer's place, or by another name.

    Args:
        argument: what the prompt's argument is called.
        given: its value.
        tokenizer_path: what stands before it.
        names: of the options in the call.

    Raises:
        TokenizerError, ConfigError: one of them was made.
    """
    for name in names:
        if name in _PROMPTS:
            raise ConfigError(f"Unknown generation option {name!r}. Did you mean {argument}=?")
    is_no_path = is_list(tokenizer_path) or (
        isinstance(tokenizer_path, str) and not os.path.exists(tokenizer_path)  # noqa: PTH110 (of any text)
    )
    if is_no_path and not given:
        raise TokenizerError(
            f"There is no tokenizer at {shown(tokenizer_path)}. Did you mean {argument}={shown(tokenizer_path)}? "
            "What comes after the model is tokenizer_path."
        )


def check_count(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """The whole number that an argument must be.

    Raises:
        ConfigError: not one, less than ``least``, or more than ``most`` if that is given.
    """
    if not is_whole(value, least) or (most is not None and int(value) > most):
        range_ = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} must be a whole number {range_}, got {shown(value)}.")
    return int(value)


def check_length(name: str, text: str, most: int, remedy: str) -> str:
    """A text that is not too long for what is to be done with it.

    Raises:
        ConfigError: it has more than ``most`` characters; ends with the ``remedy``.
    """
    if len(text) > most:
        raise ConfigError(f"{name} has {len(text)} characters, and may have {most}. {remedy}")
    return text
