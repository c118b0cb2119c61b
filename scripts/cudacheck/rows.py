"""Prompts of random ids in the rows of a decoder, stepped with given tokens: the same numbers, wherever they stand?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cudacheck.setup import fetched, random_ids
from cudacheck.shells import Array
from llmbuilder.engine.loading import Engine

STEPS = 4


class Rows:
    """Numbered prompts of one engine, each with the tokens that follow it."""

    def __init__(self, engine: Engine, *, prompts: int, longest: int, capacity: int, seed: int = 0) -> None:
        """Draw ``prompts`` of 5 to ``longest`` tokens."""
        self.engine = engine
        self.capacity = capacity
        lengths = np.random.default_rng(seed).integers(5, longest + 1, prompts).tolist()
        self.prompts = [random_ids(engine, n, seed * 1000 + i) for i, n in enumerate(lengths)]
        self.following = [random_ids(engine, STEPS, seed * 1000 + 500 + i) for i in range(prompts)]

    def decoder(self, rows: int, capacity: int | None = None) -> Any:
        """A new computation."""
        return self.engine.model.decoder(rows=rows, capacity=capacity or self.capacity)

    def run(self, places: Sequence[int], capacity: int | None = None) -> list[Array]:
        """Logits [steps, V] of the prompts with these numbers, each in the row where its number stands."""
        decoder = self.decoder(len(places), capacity)
        for row, number in enumerate(places):
            decoder.prefill(row, self.prompts[number])
        return self.step(decoder, places)

    def alone(self, number: int, capacity: int | None = None) -> Array:
        """Logits [steps, V] of a prompt by itself."""
        return self.run([number], capacity)[0]

    def step(self, decoder: Any, places: Sequence[int]) -> list[Array]:
        """Logits [steps, V] of rows that hold their prompts."""
        kept: list[list[Array]] = [[] for _ in places]
        for step in range(STEPS):
            logits = decoder.step([self.following[number][step] for number in places])
            for row, rows in enumerate(kept):
                rows.append(fetched(logits[row]))
        return [np.stack(rows) for rows in kept]


def rotations(prompts: int, rows: int, count: int, seed: int = 0) -> list[list[int]]:
    """``count`` choices of ``rows`` prompts, in which the same ones stand at other places among others."""
    random = np.random.default_rng(seed)
    chosen = []
    for turn in range(count):
        others = (1 + random.permutation(prompts - 1))[: rows - 1].tolist()
        at = turn * max(1, rows // count) % rows
        chosen.append([*others[:at], 0, *others[at:]])
    return chosen
