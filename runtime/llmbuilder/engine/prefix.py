"""Compute a prompt only from where it differs from the last one.

For chats, whose prompt grows by a turn at a time, and for many samples of one prompt. No bit changes, see
`llmbuilder.decoding.sharing`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.decoding.rows import Filling, RestorableDecoder
from llmbuilder.decoding.sharing import Ids, reusable_length
from llmbuilder.decoding.wrapping import WrappedDecoder
from llmbuilder.engine.loading import Engine, LanguageModel


class _Prompt(NamedTuple):
    """A prompt that was computed: its ids, the cache row, and the logits [V] of what follows."""

    ids: Ids
    row: Any
    logits: FloatArray


class Memory:
    """The last prompt computed. ``prefilled`` counts the tokens of all prompts that had to be computed."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.last: _Prompt | None = None
        self.prefilled = 0


class PrefixDecoder(WrappedDecoder[RestorableDecoder]):
    """A decoder that begins a prompt with what the last one shares with it."""

    def __init__(self, decoder: RestorableDecoder, memory: Memory) -> None:
        """Compute with ``decoder``."""
        super().__init__(decoder)
        self._memory = memory

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        """Empty a row and let it begin with what the last prompt shares with ``ids``; remember it when it is whole."""
        filling, last = self.decoder.begin(row, ids), self._memory.last
        if last is not None:
            filling.done = shared = reusable_length(last.ids, np.array(ids, np.int64), self.decoder.border)
            if shared:
                self.decoder.load(row, last.row, shared)
            if filling.finished:
                filling.logits = last.logits
        filling.at_end = partial(self._remember, filling.done)
        return filling

    def _remember(self, reused: int, filling: Filling) -> None:
        assert filling.logits is not None  # noqa: S101 (it is whole)
        self._memory.prefilled += len(filling.ids) - reused
        self._memory.last = _Prompt(
            np.array(filling.ids, np.int64), self.decoder.save(filling.row), filling.logits
        )


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

    def decoder(self, *, rows: int = 1, capacity: int = 256, max_rows: int = 0) -> PrefixDecoder:
        """Start a computation."""
        inner = self._model.decoder(rows=rows, capacity=capacity, max_rows=max_rows)
        return PrefixDecoder(cast("RestorableDecoder", inner), self.memory)


def remembering(engine: Engine) -> tuple[Engine, Memory]:
    """The same engine with a model that remembers, and what it remembers."""
    model = RememberingModel(engine.model)
    return replace(engine, model=model), model.memory
