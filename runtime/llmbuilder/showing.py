"""Texts as they may be shown, wherever they are from and whatever they are shown on."""

import json
import os
import re
import sys
from contextlib import suppress
from types import SimpleNamespace

_HEAD, _TAIL = 330, 165
_UNPRINTABLE = re.compile(r"[^\n\x20-\x7e\xa1-\ud7ff\ue000-\U0010ffff]|[\u2028-\u202e\u2066-\u2069]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ERASE = "\r\x1b[K"
_last = SimpleNamespace(stands=False)
"""Whether the last line on standard error is one that `stand` wrote."""


def printable(text: str) -> str:
    """A text without characters that a terminal would obey, or could not encode: they stand as Python's escapes."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def legible(message: str) -> str:
    """A message as `printable`, of 500 characters at most: the middle is left out, because advice stands at the end."""
    if len(message) > _HEAD + _TAIL:
        message = f"{message[:_HEAD]} ... {message[-_TAIL:]}"
    message = printable(message)
    return message if len(message) <= _HEAD + _TAIL + 5 else legible(message)


def counted(number: int, thing: str) -> str:
    """``1 thread``, ``2,000 threads``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def write_aside(text: str) -> None:
    """Write to standard error what is no result; where that is full or gone it is given up. A line that stands goes."""
    if _last.stands:
        text, _last.stands = _ERASE + text, False
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def is_erasable() -> bool:
    """Whether standard error is a terminal that can take back what it shows."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def stand(text: str) -> None:
    """Write a line to standard error that goes when anything else is written there; only where `is_erasable`."""
    write_aside(text)
    _last.stands = True


def writable(text: str, encoding: str | None) -> str:
    """A text that an encoding (None: UTF-8) holds; what it cannot hold stands as Python's escapes."""
    encoding = encoding or "utf-8"
    return text if _holds(encoding, text) else text.encode(encoding, "backslashreplace").decode(encoding)


def writable_json(text: str, encoding: str | None) -> str:
    """JSON as `printable` and `writable`, with JSON's own escapes, so that it says the same."""
    text = _UNPRINTABLE.sub(_json_escape, text)
    return text if _holds(encoding or "utf-8", text) else _BEYOND_ASCII.sub(_json_escape, text)


def _holds(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]
