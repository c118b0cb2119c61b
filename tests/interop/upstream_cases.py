"""The models that real LLMBuilder releases write for the tests.

Read by the tests and by ``upstream_writer.py``, which runs in a process of its own.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal

Writer = Literal["save_model", "trainer", "finetuner", "lora", "v1-trainer"]

NEW_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Case:
    """A seeded model, and which of upstream's functions saves it."""

    writer: Writer
    vocab_size: int
    heads: int
    head_dim: int
    layers: int
    window: int
    seed: int

    @property
    def release(self) -> str:
        """The release of upstream's package that has this writer."""
        return "1.0.3" if self.writer == "v1-trainer" else "2.0.0"

    @property
    def width(self) -> int:
        """Embedding width."""
        return self.heads * self.head_dim

    @property
    def prompt_lengths(self) -> list[int]:
        """From one token to the whole window."""
        window = self.window
        return sorted({1, 2, window // 4, window // 2, window - 1, window})

    def __str__(self) -> str:
        """A name for files and test ids."""
        shape = f"v{self.vocab_size}-h{self.heads}x{self.head_dim}-l{self.layers}-w{self.window}"
        return f"{self.writer}-{shape}-s{self.seed}"


# vocab_size, heads, head_dim, layers, window
_SHAPES = [
    (61, 1, 8, 1, 16),
    (320, 4, 16, 2, 128),
    (500, 8, 8, 3, 32),
    (777, 3, 16, 2, 100),
    (1000, 2, 32, 4, 128),
]
_WRITERS: list[Writer] = ["save_model", "trainer", "finetuner", "lora", "v1-trainer"]


def _case(writer: Writer, shape: tuple[int, int, int, int, int], seed: int) -> Case:
    vocab_size, heads, head_dim, layers, window = shape
    return Case(
        writer=writer,
        vocab_size=vocab_size,
        heads=heads,
        head_dim=head_dim,
        layers=layers,
        window=window,
        seed=seed,
    )


SAMPLE = [
    _case(writer, shape, seed) for seed, (writer, shape) in enumerate(zip(_WRITERS, _SHAPES, strict=True))
]
"""Every writer and every shape once."""

WHOLE = SAMPLE + [
    case
    for (writer, shape), seed in product(product(_WRITERS, _SHAPES), (11, 12))
    if (case := _case(writer, shape, seed)) not in SAMPLE
]
"""Every writer with every shape, twice."""
