"""The table of characters and their replacements that SentencePiece compiles (its double array is that of Darts-clone).

The library that reads it believes every number in it. So what it can reach from the root is followed here.
"""

import base64
import binascii
from typing import Any

import numpy as np
import numpy.typing as npt

from llmbuilder.tokenizerfile.places import a_text, refuse

_Numbers = npt.NDArray[np.int64]

_LARGEST = 16 << 20
_LONGEST_REPLACEMENT = 256
"""Bytes; the longest of Unicode's compatibility forms has 33."""
_BLOCK = 255
"""The children of a node lie in one block of 256 units."""


def check_charsmap(value: Any, place: str) -> None:
    """Refuse a ``precompiled_charsmap`` with sizes that do not add up, or with a place outside of it.

    Raises:
        RefusedError: it has one.
    """
    try:
        content = base64.b64decode(a_text(value, place, _LARGEST), validate=True)
    except (binascii.Error, ValueError) as error:
        refuse(place, f"has no Base64 ({error})")
    size = int.from_bytes(content[:4], "little")
    if len(content) < 4 or size % 4 or not 0 < size <= len(content) - 4:
        refuse(place, f"has a table of {size} bytes in {len(content)} bytes")
    units = np.frombuffer(content, "<u4", count=size // 4, offset=4).astype(np.int64)
    _check_replacements(_reachable(units, place), content[4 + size :], place)


def _reachable(units: _Numbers, place: str) -> _Numbers:
    """The numbers of all replacements [n] that a text can lead to."""
    seen = np.zeros(len(units), dtype=bool)
    found = [np.zeros(0, dtype=np.int64)]
    bases = _offsets(units[:1])
    while len(bases):
        if int(bases.max()) | _BLOCK >= len(units):
            refuse(place, "leads out of its own table")
        seen[bases] = True
        children = bases[:, None] ^ np.arange(1, _BLOCK + 1)
        labels = units[children] & (1 << 31 | _BLOCK)
        nodes = children[labels == np.arange(1, _BLOCK + 1)]
        after = nodes ^ _offsets(units[nodes])
        leaves = after[(units[nodes] >> 8 & 1).astype(bool)]
        if len(leaves) and leaves.max() >= len(units):
            refuse(place, "leads out of its own table")
        found.append(units[leaves] & 0x7FFFFFFF)
        after = np.unique(after)
        if len(after) and after[-1] >= len(units):
            refuse(place, "leads out of its own table")
        bases = after[~seen[after]]
    return np.unique(np.concatenate(found))


def _offsets(units: _Numbers) -> _Numbers:
    return (units >> 10) << ((units & 1 << 9) >> 6)


def _check_replacements(starts: _Numbers, texts: bytes, place: str) -> None:
    try:
        texts.decode()
    except UnicodeDecodeError:
        refuse(place, "has replacements that are not UTF-8")
    for start in starts.tolist():
        end = texts.find(b"\0", start, start + _LONGEST_REPLACEMENT + 1)
        if end < 0 or texts[start] & 0xC0 == 0x80:
            refuse(place, "has a replacement that is no text, or too long")
