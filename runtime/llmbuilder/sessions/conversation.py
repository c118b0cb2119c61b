"""Conversations: lists of ``{"user": ..., "assistant": ...}``, and files of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmbuilder.checks import check_text, is_many, shown
from llmbuilder.cleanup import replace_file
from llmbuilder.errors import ConfigError
from llmbuilder.userdata import data_directory

_KEYS = ("user", "assistant")


class Turn(NamedTuple):
    """What a user said, and the answer."""

    user: str
    assistant: str


Conversation = Sequence[Mapping[str, str]]


def read_turns(conversation: Conversation) -> list[Turn]:
    """Check a conversation.

    Raises:
        ConfigError: an entry is not a user's text with an assistant's; the message says which.
    """
    if not is_many(conversation):
        raise ConfigError(
            'A conversation must be a list of turns, [{"user": "...", "assistant": "..."}, ...], '
            f"got {shown(conversation)}."
        )
    return [_turn(number, entry) for number, entry in enumerate(conversation, 1)]


@dataclass(frozen=True, slots=True)
class Saved:
    """A conversation in a file, with its system prompt if it had one."""

    conversation: list[dict[str, str]]
    system_prompt: str | None = None


def new_conversation(name: str) -> Path:
    """Where a conversation goes that is given no file: the user's data directory, which is made."""
    folder = data_directory() / "conversations"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Say where: /save FILE.") from error
    return folder / name


def find_conversation(path: Path) -> Path:
    """A file that is there, or the one of that name where `new_conversation` puts them."""
    own = data_directory() / "conversations" / path
    return own if not path.exists() and own.is_file() else path


def save_conversation(path: Path, saved: Saved) -> None:
    """Write a JSON object with ``system_prompt`` and ``conversation``; a conversation there is replaced at the end.

    Raises:
        ConfigError: there is something else, or no file of that name can be written.
    """
    content = {"system_prompt": saved.system_prompt, "conversation": saved.conversation}
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    try:
        is_taken = path.exists() and not _is_conversation(path)
        if not is_taken:
            replace_file(path, text)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ConfigError(f"{path} cannot be written: {reason}. Name a file in a folder of yours.") from error
    if is_taken:
        raise ConfigError(f"{path} is there already and no conversation: save under another name.")


def load_conversation(path: Path) -> Saved:
    """Read what `save_conversation` wrote, or a plain list of turns.

    Raises:
        ConfigError: there is no such file, or something else is in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read as a conversation: {error}. Name a file that /save wrote."
        ) from error
    if isinstance(content, list):
        content = {"conversation": content}
    if not isinstance(content, dict) or not isinstance(content.get("conversation"), list):
        raise ConfigError(
            f"{path} holds no conversation: a list of turns, or an object with one. "
            "Name a file that /save wrote."
        )
    try:
        turns = read_turns(content["conversation"])
        system = content.get("system_prompt")
        system = None if system is None else check_text("system_prompt", system)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return Saved([turn._asdict() for turn in turns], system)


def _is_conversation(path: Path) -> bool:
    try:
        return path.is_file() and load_conversation(path) is not None
    except ConfigError:
        return False


def _turn(number: int, entry: Any) -> Turn:
    if not isinstance(entry, Mapping) or set(entry) != set(_KEYS):
        raise ConfigError(
            f'Turn {number} of the conversation must be {{"user": ..., "assistant": ...}}, got {shown(entry)}.'
        )
    return Turn(*(check_text(f"Turn {number}: {key}", entry[key]) for key in _KEYS))
