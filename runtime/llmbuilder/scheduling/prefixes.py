"""Beginnings of prompts, kept over all requests, within a bound of bytes.

What is kept was computed as part of a prompt, never token by token, and at least two tokens are computed anew: so the
numbers are, bit for bit, those of computing the whole prompt (see `llmbuilder.decoding.rows.chunk_size`).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.loop import OpenDecoder
from llmbuilder.decoding.rows import LEAST_CHUNK, Filling, RestorableDecoder, RowDecoder
from llmbuilder.errors import LLMBuilderError

LEAST = 16
"""Tokens of a prompt that is worth keeping."""
_MOST_PROMPTS = 1024  # all are looked at for each new one


class KeptIds(tuple[int, ...]):  # noqa: SLOT001 (it carries more than ids)
    """Ids of a prompt that is to be kept for others of the same ``salt``, and to begin with what they left."""

    salt: str = ""
    reused: int = 0
    """How many of them had been computed already."""


def keep(group: Group, salt: str) -> None:
    """Let a group, before it joins, share beginnings with others of the same ``salt``."""
    ids = KeptIds(group.prompt.ids)
    ids.salt = salt
    group.prompt = replace(group.prompt, ids=ids)


class _Kept(NamedTuple):
    ids: npt.NDArray[np.int64]
    row: Any
    logits: FloatArray
    size: int


class Prefixes:
    """Prompts that were computed, the last used at the end. For one model and one thread."""

    def __init__(self, most_bytes: int) -> None:
        """Keep no more than ``most_bytes``."""
        self._most = most_bytes
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()
        self.size = 0
        """Bytes that are kept."""

    def keeping(self, open_decoder: OpenDecoder) -> OpenDecoder:
        """The same decoders, which begin prompts with what is kept and keep what they compute."""
        if not self._most:
            return open_decoder

        def opened(*, rows: int, capacity: int) -> RowDecoder:
            return _Keeping(cast("RestorableDecoder", open_decoder(rows=rows, capacity=capacity)), self)

        return opened

    def find(self, ids: KeptIds) -> tuple[_Kept, int] | None:
        """What shares most with ``ids``, and how many tokens of it can be used."""
        wanted = np.array(ids, np.int64)
        shared = ((key, _usable(kept.ids, wanted)) for key, kept in self._kept.items() if key[0] == ids.salt)
        key, count = max(shared, key=lambda found: found[1], default=(("", b""), 0))
        if count == 0:
            return None
        self._kept.move_to_end(key)
        return self._kept[key], count

    def add(self, ids: KeptIds, row: Any, logits: FloatArray) -> None:
        """Keep a prompt instead of those that it begins with, and of those that were not used for longest."""
        array = np.array(ids, np.int64)
        size = array.nbytes + logits.nbytes + sum(getattr(part, "nbytes", 8) for part in row)
        if size > self._most:
            return
        self._drop(
            key
            for key, kept in list(self._kept.items())
            if key[0] == ids.salt
            and kept.ids.size <= array.size
            and _common(kept.ids, array) == kept.ids.size
        )
        while self._kept and (self.size + size > self._most or len(self._kept) >= _MOST_PROMPTS):
            self._drop([next(iter(self._kept))])
        self._kept[ids.salt, array.tobytes()] = _Kept(array, row, logits.copy(), size)
        self.size += size

    def _drop(self, keys: Iterable[tuple[str, bytes]]) -> None:
        for key in keys:
            self.size -= self._kept.pop(key).size


class _Keeping:
    """A decoder that begins prompts with what others left."""

    def __init__(self, decoder: RestorableDecoder, prefixes: Prefixes) -> None:
        self._decoder = decoder
        self._prefixes = prefixes
        self.prefill = decoder.prefill
        self.step = decoder.step
        self.truncate = decoder.truncate
        self.copy = decoder.copy

    @property
    def lengths(self) -> list[int]:
        return self._decoder.lengths

    @property
    def budget(self) -> int:
        return self._decoder.budget

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        filling = self._decoder.begin(row, ids)
        if not isinstance(ids, KeptIds) or len(ids) < LEAST:
            return filling  # also what is computed again where a window is full
        found = self._prefixes.find(ids)
        if found is not None:
            kept, filling.done = found
            self._decoder.load(row, kept.row, filling.done)
            if filling.finished:
                filling.logits = kept.logits
        ids.reused = filling.done
        filling.at_end = partial(self._remember, ids)
        return filling

    def _remember(self, ids: KeptIds, filling: Filling) -> None:
        assert filling.logits is not None  # noqa: S101 (it is whole)
        try:
            row = self._decoder.save(filling.row)
        except LLMBuilderError:  # no memory for it: nobody is worse off than without
            return
        self._prefixes.add(ids, row, filling.logits)


def _common(known: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> int:
    size = min(known.size, ids.size)
    differing = known[:size] != ids[:size]
    return int(differing.argmax()) if differing.any() else size


def _usable(known: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> int:
    """How many tokens of ``ids`` are known: all, or so many that no chunk of a single token is used or computed."""
    common = _common(known, ids)
    if common == ids.size == known.size:
        return common
    common = min(common, ids.size - LEAST_CHUNK)
    return common if common >= LEAST else 0
