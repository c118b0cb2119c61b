"""Whether a run over a file of prompts may go on where an earlier one stopped, and where that is.

While a run is under way a note beside its file of completions, ``OUT.jsonl.run``, says what it was begun with and who
is at it. It goes when the last line is written.
"""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from llmbuilder.cleanup import replace_file
from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError
from llmbuilder.generator import Engine
from llmbuilder.userdata import file_sha256

_BLOCK = 1 << 20
_RECORD = b'{"id": '
_ADVICE = "Resume with what it was begun with, or write to another file."
RULES = ("filter", "form")
"""What texts must be besides."""

Facts = dict[str, Any]


def describe(
    engine: Engine, source: Path, options: GenerationConfig, rules: Mapping[str, Mapping[str, Any]]
) -> Facts:
    """What completions come from, as JSON: the model, the options, the `RULES` of their texts and the prompts."""
    bundle = engine.bundle
    size = source.stat().st_size
    facts = {
        "model": None if bundle is None else file_sha256(bundle.manifest_file),
        "options": {name: value for name, value in options.options().items() if name != "batch_size"},
        **{name: dict(rule) for name, rule in rules.items()},
        "prompts": {"bytes": size, "sha256": _hash_beginning(source, size)},
    }
    stored: Facts = json.loads(json.dumps(facts))
    return stored


def note(target: Path) -> Path:
    """Where it stands what ``target`` was begun with."""
    return target.with_name(f"{target.name}.run")


def begin(target: Path, facts: Facts) -> None:
    """Write down what a run is begun with, where the folder lets us; without it a resumed run is not checked."""
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
    with contextlib.suppress(OSError):
        replace_file(note(target), json.dumps({**facts, "holder": holder}, indent=2) + "\n")


def end(target: Path) -> None:
    """Forget it: the last line is written."""
    with contextlib.suppress(OSError):
        note(target).unlink()


def holder(target: Path) -> str:
    """Who is at work on ``target``, in words, as far as its note tells."""
    try:
        begun = json.loads(note(target).read_text("utf-8"))["holder"]
        return f"process {int(begun['pid'])} on {begun['host']:.80} since {begun['since']:.40}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def check_same_run(target: Path, source: Path, facts: Facts) -> None:
    """Refuse to go on with something else than a run was begun with; prompts may have been added at the end.

    Raises:
        ConfigError: another model, other options, another filter or form, or other prompts.
    """
    try:
        begun: Facts = json.loads(note(target).read_text("utf-8"))
        prompts, options = begun["prompts"], begun["options"]
        same_prompts = _hash_beginning(source, prompts["bytes"]) == prompts["sha256"]
        different = sorted(
            name
            for name in {**options, **facts["options"]}
            if options.get(name) != facts["options"].get(name)
        )
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{note(target)} is damaged. Remove it to go on without its check.") from error
    if begun.get("model") != facts["model"]:
        raise ConfigError(f"{target} was begun with another model. {_ADVICE}")
    if different:
        was = ", ".join(f"{name}={options.get(name)!r}" for name in different)
        raise ConfigError(f"{target} was begun with other options: {was}. {_ADVICE}")
    for name in RULES:
        if (rule := begun.get(name, {})) != facts[name]:  # notes of earlier releases know of none
            raise ConfigError(f"{target} was begun with another {name}: {rule or 'none'}. {_ADVICE}")
    if not same_prompts:
        raise ConfigError(f"{target} was begun with other prompts than those in {source}. {_ADVICE}")


class Kept(NamedTuple):
    """The whole records of a file of completions: how many, how many of them errors, and their bytes."""

    lines: int
    errors: int
    size: int


def whole_lines(target: Path, ids: Iterator[Any]) -> Kept:
    """What is to stay of a file of completions: all but a record that was not finished.

    Args:
        target: the file of completions.
        ids: those of the prompts, in order.

    Raises:
        ConfigError: a line is no completion of the prompt in that place.
    """
    kept = Kept(0, 0, 0)
    with target.open("rb") as lines:
        for text in lines:
            if not text.endswith(b"\n") and _is_begun(text):
                break
            record = _parse(text)
            if record.get("id", object()) != next(ids, _NO_ID):
                raise ConfigError(
                    f"{target}, line {kept.lines + 1}, is not the completion of the prompt in that place. {_ADVICE}"
                )
            kept = Kept(kept.lines + 1, kept.errors + ("error" in record), kept.size + len(text))
    return kept


_NO_ID = object()


def _is_begun(text: bytes) -> bool:
    """Whether a text can be the beginning of a record."""
    return text.startswith(_RECORD) or _RECORD.startswith(text)


def _parse(text: bytes) -> Facts:
    """A record; empty if it is none."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _hash_beginning(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, _BLOCK))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()
