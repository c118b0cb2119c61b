"""Compute a prompt only from where it differs from the last one.

For chats, whose prompt grows by a turn at a time, and for many samples of one prompt. What is reused was computed as
part of a prompt, never token by token, and at least two tokens are computed anew: so the numbers are, bit for bit,
those of computing the whole prompt (see `llmbuilder.model.chunk_sizes`).
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from llmbuilder.engine import Decoding
from llmbuilder.manifest import ModelFacts
from llmbuilder.model import Decodes, FloatArray

_LEAST_NEW = 2


class Keeps(Decodes, Protocol):
    """A decoder whose rows can be kept and begun with."""

    def save(self, row: int) -> Any:
        """Keep what a row has computed."""
        ...

    def load(self, row: int, saved: Any, length: int) -> None:
        """Begin a row with the first ``length`` tokens of a kept one."""
        ...


class PrefixDecoder:
    """A decoder that remembers its last prompt. ``prefilled`` counts the tokens of prompts it did compute."""

    def __init__(self, decoder: Keeps) -> None:
        """Compute with ``decoder``."""
        self.decoder = decoder
        self.prefilled = 0
        self._ids: list[int] = []
        self._saved: Any = None
        self._logits: FloatArray | None = None

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        return self.decoder.lengths

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; see `Decoder.prefill`. An empty row begins with what the last prompt shares with it."""
        if keep > 1 or (row < len(self.lengths) and self.lengths[row] > 0):
            return self.decoder.prefill(row, ids, keep)
        ids = list(ids)
        if ids == self._ids and self._logits is not None:
            self.decoder.load(row, self._saved, len(ids))
            return self._logits
        common = min(_shared(self._ids, ids), len(ids) - _LEAST_NEW)
        if common < _LEAST_NEW:  # a token alone was computed by other kernels
            common = 0
        else:
            self.decoder.load(row, self._saved, common)
        self._logits = self.decoder.prefill(row, ids[common:])
        self.prefilled += len(ids) - common
        self._ids, self._saved = ids, self.decoder.save(row)
        return self._logits

    def step(self, tokens: Sequence[int]) -> FloatArray:
        """Append one token to each of the first rows; see `Decoder.step`."""
        return self.decoder.step(tokens)

    def truncate(self, row: int, length: int) -> None:
        """Forget a row's tokens from ``length`` on."""
        self.decoder.truncate(row, length)

    def copy(self, source: int, target: int) -> None:
        """Make a row equal to another."""
        self.decoder.copy(source, target)


class RememberingModel:
    """A model each of whose computations remembers its last prompt."""

    def __init__(self, model: Decoding) -> None:
        """Compute with ``model``."""
        self._model = model

    @property
    def facts(self) -> ModelFacts:
        """The shape of the network."""
        return self._model.facts

    def decoder(self, *, rows: int = 1, capacity: int = 256) -> PrefixDecoder:
        """Start a computation."""
        return PrefixDecoder(cast("Keeps", self._model.decoder(rows=rows, capacity=capacity)))


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the beginning that two sequences share."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))
