"""Compute a prompt only from where it differs from the last one.

For chats, whose prompt grows by a turn at a time, and for many samples of one prompt. What is reused was computed as
part of a prompt, never token by token, and at least two tokens are computed anew: so the numbers are, bit for bit,
those of computing the whole prompt (see `llmbuilder.decoding.rows.chunk_size`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.decoding.rows import LEAST_CHUNK, Filling, RestorableDecoder
from llmbuilder.engine.loading import Engine, LanguageModel


class _Prompt(NamedTuple):
    """A prompt that was computed: its ids, the cache row, and the logits [V] of what follows."""

    ids: tuple[int, ...]
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

    @property
    def budget(self) -> int:
        """Most tokens that all rows together may hold."""
        return self.decoder.budget

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        """Empty a row and let it begin with what the last prompt shares with ``ids``; remember it when it is whole."""
        filling, last = self.decoder.begin(row, ids), self._memory.last
        if last is not None:
            filling.done = shared = _reusable(last.ids, ids)
            if shared:
                self.decoder.load(row, last.row, shared)
            if filling.finished:
                filling.logits = last.logits
        filling.at_end = partial(self._remember, filling.done)
        return filling

    def prefill(self, row: int, ids: Sequence[int], keep: int = 1) -> FloatArray:
        """Append ids to a row; see `Decoder.prefill`."""
        return self.decoder.prefill(row, ids, keep)

    def _remember(self, reused: int, filling: Filling) -> None:
        assert filling.logits is not None  # noqa: S101 (it is whole)
        self._memory.prefilled += len(filling.ids) - reused
        self._memory.last = _Prompt(tuple(filling.ids), self.decoder.save(filling.row), filling.logits)

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


def _reusable(known: Sequence[int], ids: Sequence[int]) -> int:
    """How many tokens of ``ids`` are known: all, or so many that no chunk of a single token is used or computed."""
    if tuple(ids) == known:
        return len(ids)
    common = next((n for n, (x, y) in enumerate(zip(known, ids, strict=False)) if x != y), len(known))
    common = min(common, len(ids) - LEAST_CHUNK)
    return common if common >= LEAST_CHUNK else 0
