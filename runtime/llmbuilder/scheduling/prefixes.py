"""Beginnings of prompts, kept over all requests, within a bound of bytes.

Using them changes no bit, see `llmbuilder.decoding.sharing`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.decoding.group import Group
from llmbuilder.decoding.loop import OpenDecoder
from llmbuilder.decoding.rows import Filling, RestorableDecoder, RowDecoder
from llmbuilder.decoding.sharing import Ids, common_length, reusable_length
from llmbuilder.decoding.wrapping import WrappedDecoder
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
    ids: Ids
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

        def opened(**room: int) -> RowDecoder:
            return _Keeping(cast("RestorableDecoder", open_decoder(**room)), self)

        return opened

    def find(self, ids: KeptIds, border: int) -> tuple[_Kept, int] | None:
        """What shares most with ``ids``, and how many tokens of it can be used, see `reusable_length`."""
        wanted = np.array(ids, np.int64)
        shared = (
            (key, reusable_length(kept.ids, wanted, border, LEAST))
            for key, kept in self._kept.items()
            if key[0] == ids.salt
        )
        key, count = max(shared, key=lambda found: found[1], default=(("", b""), 0))
        if count == 0:
            return None
        self._kept.move_to_end(key)
        return self._kept[key], count

    def add(self, ids: KeptIds, row: Any, logits: FloatArray) -> None:
        """Keep a prompt instead of those that it begins with, and of those that were not used for longest."""
        array = np.array(ids, np.int64)
        size = array.nbytes + logits.nbytes + _bytes_of(row)
        if size > self._most:
            return
        self._drop(
            key
            for key, kept in list(self._kept.items())
            if key[0] == ids.salt
            and kept.ids.size <= array.size
            and common_length(kept.ids, array) == kept.ids.size
        )
        while self._kept and (self.size + size > self._most or len(self._kept) >= _MOST_PROMPTS):
            self._drop([next(iter(self._kept))])
        self._kept[ids.salt, array.tobytes()] = _Kept(array, row, logits.copy(), size)
        self.size += size

    def _drop(self, keys: Iterable[tuple[str, bytes]]) -> None:
        for key in keys:
            self.size -= self._kept.pop(key).size


def _bytes_of(row: Any) -> int:
    """What a kept row takes: by its own account, as one on a device, or that of its parts."""
    own = getattr(row, "nbytes", None)
    return sum(getattr(part, "nbytes", 8) for part in row) if own is None else int(own)


class _Keeping(WrappedDecoder[RestorableDecoder]):
    """A decoder that begins prompts with what others left."""

    def __init__(self, decoder: RestorableDecoder, prefixes: Prefixes) -> None:
        super().__init__(decoder)
        self._prefixes = prefixes

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        filling = self.decoder.begin(row, ids)
        if not isinstance(ids, KeptIds) or len(ids) < LEAST:
            return filling  # also what is computed again where a window is full
        found = self._prefixes.find(ids, self.decoder.border)
        if found is not None:
            kept, filling.done = found
            self.decoder.load(row, kept.row, filling.done)
            if filling.finished:
                filling.logits = kept.logits
        ids.reused = filling.done
        filling.at_end = partial(self._remember, ids)
        return filling

    def _remember(self, ids: KeptIds, filling: Filling) -> None:
        assert filling.logits is not None  # noqa: S101 (it is whole)
        try:
            row = self.decoder.save(filling.row)
        except LLMBuilderError:  # no memory for it: nobody is worse off than without
            return
        self._prefixes.add(ids, row, filling.logits)
