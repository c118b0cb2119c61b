"""Compute a prompt only from where it differs from the last one.

For chats, whose prompt grows by a turn at a time, and for many samples of one prompt. What is reused was computed as
part of a prompt, never token by token, and at least two tokens are computed anew: so the numbers are, bit for bit,
those of computing the whole prompt (see `llmbuilder.engine.model.chunk_sizes`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.decoding.rows import RestorableDecoder
from llmbuilder.engine.loading import Engine, LanguageModel

_LEAST_NEW = 2


class _Prompt(NamedTuple):
    """A prompt that was computed: its ids, the cache row, and the logits [1, V] of what follows."""

    ids: list[int]
    row: Any
    logits: FloatArray


class Memory:
    """The last prompt computed. ``prefilled`` counts the tokens of all prompts that had to be computed."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.last: _Prompt | None = None
        self.prefilled = 0


class PrefixDecoder:
    """A decoder that begins a prompt with what the last one shares with it."""

    def __init__(self, decoder: RestorableDecoder, memory: Memory) -> None:
        """Compute with ``decoder``."""
        self.decoder = decoder
        self._memory = memory

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each row."""
        return self.decoder.lengths

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; see `Decoder.prefill`. An empty row begins with what the last prompt shares with it."""
        if keep > 1 or (row < len(self.lengths) and self.lengths[row] > 0):
            return self.decoder.prefill(row, ids, keep)
        ids, last = list(ids), self._memory.last
        if last is not None and ids == last.ids:
            self.decoder.load(row, last.row, len(ids))
            return last.logits
        common = 0 if last is None else min(_shared(last.ids, ids), len(ids) - _LEAST_NEW)
        if last is None or common < _LEAST_NEW:  # a token alone was computed by other kernels
            common = 0
        else:
            self.decoder.load(row, last.row, common)
        logits = self.decoder.prefill(row, ids[common:])
        self._memory.prefilled += len(ids) - common
        self._memory.last = _Prompt(ids, self.decoder.save(row), logits)
        return logits

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
    """A model that remembers the last prompt it computed, from one computation to the next."""

    def __init__(self, model: LanguageModel) -> None:
        """Compute with ``model``."""
        self._model = model
        self.memory = Memory()

    @property
    def facts(self) -> ModelFacts:
        """The shape of the network."""
        return self._model.facts

    def decoder(self, *, rows: int = 1, capacity: int = 256) -> PrefixDecoder:
        """Start a computation."""
        return PrefixDecoder(
            cast("RestorableDecoder", self._model.decoder(rows=rows, capacity=capacity)), self.memory
        )


def remembering(engine: Engine) -> tuple[Engine, Memory]:
    """The same engine with a model that remembers, and what it remembers."""
    model = RememberingModel(engine.model)
    return replace(engine, model=model), model.memory


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the beginning that two sequences share."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))
