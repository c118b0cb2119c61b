"""Whether a run over a file of prompts may go on where an earlier one stopped, and where that is.

While a run is under way a note beside its file of completions, ``OUT.jsonl.run``, says what it was begun with. It goes
when the last line is written.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder.userdata import file_sha256

_BLOCK = 1 << 20
_RECORD = b'{"id": '
_ADVICE = "Resume with what it was begun with, or write to another file."

Facts = dict[str, Any]


def describe(generator: TextGenerator, source: Path, options: GenerationConfig) -> Facts:
    """What completions come from, as JSON: the model, the options and the prompts."""
    bundle = generator.engine.bundle
    size = source.stat().st_size
    facts = {
        "model": None if bundle is None else file_sha256(bundle.manifest_file),
        "options": {name: value for name, value in options.options().items() if name != "batch_size"},
        "prompts": {"bytes": size, "sha256": _hash_beginning(source, size)},
    }
    found: Facts = json.loads(json.dumps(facts))
    return found


def note(target: Path) -> Path:
    """Where it stands what ``target`` was begun with."""
    return target.with_name(f"{target.name}.run")


def begin(target: Path, facts: Facts) -> None:
    """Write down what a run is begun with, where the folder lets us; without it a resumed run is not checked."""
    partial = note(target).with_suffix(".partial")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
        partial.replace(note(target))


def end(target: Path) -> None:
    """Forget it: the last line is written."""
    note(target).unlink(missing_ok=True)


def check_same_run(target: Path, source: Path, facts: Facts) -> None:
    """Refuse to go on with something else than a run was begun with; prompts may have been added at the end.

    Raises:
        ConfigError: another model, other options or other prompts.
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
    if not same_prompts:
        raise ConfigError(f"{target} was begun with other prompts than those in {source}. {_ADVICE}")


def keep_whole_lines(target: Path, ids: Iterator[Any]) -> int:
    """Cut off a record that was not finished; return how many stay.

    Args:
        target: the file of completions.
        ids: those of the prompts, in order.

    Raises:
        ConfigError: a line is no completion of the prompt in that place.
    """
    whole = 0
    kept = 0
    with target.open("rb") as lines:
        for text in lines:
            if not text.endswith(b"\n") and _is_begun(text):
                break
            if _identity(text) != next(ids, _NO_ID):
                raise ConfigError(
                    f"{target}, line {kept + 1}, is not the completion of the prompt in that place. {_ADVICE}"
                )
            kept += 1
            whole += len(text)
    os.truncate(target, whole)
    return kept


_NO_ID = object()


def _is_begun(text: bytes) -> bool:
    """Whether a text can be the beginning of a record."""
    return text.startswith(_RECORD) or _RECORD.startswith(text)


def _identity(text: bytes) -> Any:
    try:
        return json.loads(text)["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return object()  # equal to no id


def _hash_beginning(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, _BLOCK))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()
