"""Files of a model as they come from anyone: plain ones of their directory, of sizes that can be read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmbuilder.errors import ExportError

GGUF_MAGIC = b"GGUF"
"""How a GGUF file begins."""
_LONGEST_NAME = 120
_MOST_JSON = 64 << 20
"""Bytes of JSON that are read: an index of 100,000 weights has 10 MB."""


def refuse_special(path: Path) -> None:
    """Refuse what is no plain file, nor a link to one: a pipe or a device may never end.

    Raises:
        ExportError: there is something else, or nothing.
    """
    if not path.is_file():
        what = "is not a plain file" if path.exists() else "is missing"
        raise ExportError(f"{path} {what}. Get the whole model again.")


def read_json(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; empty where there is no file, or another value in it.

    Raises:
        ExportError: not a plain file, too long, or not JSON.
    """
    if not path.exists() and not path.is_symlink():
        return {}
    refuse_special(path)
    if path.stat().st_size > _MOST_JSON:
        raise ExportError(f"{path} has more than {_MOST_JSON >> 20} MB, which no model's has. Get it again.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read as JSON ({error}). Get the whole model again.") from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error}). Check its permissions and its disk.") from error
    return content if isinstance(content, Mapping) else {}


def inside(directory: Path, name: object, origin: Path) -> Path:
    """The file of ``directory`` that ``origin`` names.

    Raises:
        ExportError: it is no plain name, so it may lie anywhere.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ExportError(f"{origin} names the file {shown(name)}, which is not in {directory}.")
    return directory / name


def shown(name: object) -> str:
    """A name out of a file, short and without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(name)[: _LONGEST_NAME + 1])
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def listed(names: Iterable[object], most: int = 5) -> str:
    """The first names of several, and how many more there are."""
    sorted_names = sorted(shown(name) for name in names)
    more = f" and {len(sorted_names) - most} more" if len(sorted_names) > most else ""
    return f"{', '.join(sorted_names[:most])}{more}"
