"""Rows and configurations on which the logits rules are compared with transformers; needs NumPy only.

Used by the fixture script in transformers' environment and by the tests in ours, so both see the same numbers.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

PROMPT = (1, 2, 3, 1, 2, 4, 6)
NEW = (1, 5, 7, 1, 2)
EOS = ((0,), (0, 9))
LARGE = 49152

RULES: tuple[dict[str, Any], ...] = (
    {"encoder_repetition_penalty": 1.3},
    {"encoder_repetition_penalty": 0.7},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 12},
    {"no_repeat_ngram_size": 13},
    {"no_repeat_ngram_size": 14},
    {"min_new_tokens": 5},
    {"min_new_tokens": 6},
    {"exponential_decay_length_penalty": [5, 1.5]},
    {"exponential_decay_length_penalty": [2, 1.5]},
    {"exponential_decay_length_penalty": [0, 0.8]},
    {"temperature": 0.1},
    {"temperature": 0.8},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 50},
    {"top_k": 3000},
    {"top_p": 0.01},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 0.99},
    {"top_p": 0.999999},
    {"min_p": 0.001},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"typical_p": 0.05},
    {"typical_p": 0.5},
    {"typical_p": 0.9},
    {"typical_p": 0.9999},
    {"epsilon_cutoff": 0.0003},
    {"epsilon_cutoff": 0.05},
    {"epsilon_cutoff": 0.9},
    {"eta_cutoff": 0.0003},
    {"eta_cutoff": 0.02},
    {"eta_cutoff": 0.9},
)

COMBINATIONS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.8, "top_k": 50, "top_p": 0.9},
    {"temperature": 0.7, "top_k": 8, "top_p": 0.6},
    {"temperature": 1.4, "top_p": 0.95, "min_p": 0.02},
    {"top_k": 20, "typical_p": 0.8},
    {"top_p": 0.9, "typical_p": 0.5, "epsilon_cutoff": 0.001},
    {"temperature": 1.2, "epsilon_cutoff": 0.0005, "eta_cutoff": 0.002},
    {"top_k": 10, "top_p": 0.8, "min_p": 0.05, "typical_p": 0.9, "epsilon_cutoff": 0.01, "eta_cutoff": 0.01},
    {"repetition_penalty": 1.2, "encoder_repetition_penalty": 1.1},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "temperature": 0.9, "top_k": 40},
    {"no_repeat_ngram_size": 2, "min_new_tokens": 8, "top_p": 0.85},
    {
        "exponential_decay_length_penalty": [1, 1.3],
        "repetition_penalty": 1.1,
        "temperature": 0.8,
        "top_k": 50,
    },
    {
        "encoder_repetition_penalty": 1.05,
        "repetition_penalty": 1.15,
        "no_repeat_ngram_size": 2,
        "exponential_decay_length_penalty": [3, 1.2],
        "temperature": 0.75,
        "top_k": 30,
        "top_p": 0.92,
        "min_p": 0.01,
        "typical_p": 0.95,
        "epsilon_cutoff": 0.0003,
        "eta_cutoff": 0.0006,
    },
)

DISTRIBUTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.3},
    {"temperature": 2.0},
    {"top_k": 3},
    {"top_k": 40},
    {"top_p": 0.4},
    {"top_p": 0.9},
    {"min_p": 0.02},
    {"min_p": 0.3},
    {"typical_p": 0.3},
    {"typical_p": 0.9},
    {"epsilon_cutoff": 0.004},
    {"eta_cutoff": 0.01},
    {"repetition_penalty": 1.5},
    {"encoder_repetition_penalty": 1.5},
    {"no_repeat_ngram_size": 1},
    {"min_new_tokens": 9},
    {"exponential_decay_length_penalty": [1, 1.2]},
    COMBINATIONS[0],
    COMBINATIONS[-1],
)


@dataclass(frozen=True)
class Case:
    """One configuration on a batch of rows ``[B, V]``."""

    rows_name: str
    rows: Rows
    options: dict[str, Any]
    eos_ids: tuple[int, ...]
    with_beams: bool

    @property
    def name(self) -> str:
        """A name that is unique among the cases."""
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.rows_name}:{options}:eos={len(self.eos_ids)}:beams={self.with_beams}"

    @property
    def min_tokens_to_keep(self) -> int:
        """What transformers asks of its filters."""
        return len(self.eos_ids) + 1 if self.with_beams else 1

    def ids(self) -> tuple[list[int], list[int]]:
        """Prompt and new tokens, inside the vocabulary."""
        size = self.rows.shape[1]
        return [i % size for i in PROMPT], [i % size for i in NEW]


def normal(seed: int, *shape: int) -> Rows:
    """Nearly normal numbers from plain uniform bits: the same on every NumPy version and machine."""
    bits = np.random.PCG64(seed).random_raw(12 * int(np.prod(shape)))
    uniform = (bits >> np.uint64(40)).astype(np.float64) / 2**24
    values: Rows = (uniform.reshape(12, *shape).sum(axis=0) - 6).astype(np.float32)
    return values


def small_rows() -> dict[str, Rows]:
    """Batches of rows with every kind of trouble, by name."""
    alone = np.full((2, 20), -np.inf, dtype=np.float32)
    alone[0, 0], alone[1, 13] = 2.5, -40.0
    masked = normal(3, 3, 40) * 3
    masked[:, 4::2] = -np.inf  # not the EOS ids
    return {
        "normal": normal(1, 3, 40) * 3,
        "ties": np.round(normal(2, 3, 40) * 2),
        "masked": masked,
        "masked ties": np.round(masked),
        "equal": np.full((1, 12), -1.25, dtype=np.float32),
        "zero": np.zeros((1, 10), dtype=np.float32),
        "one token": np.array([[3.0], [-3.0]], dtype=np.float32),
        "two tokens": np.array([[1.0, 1.0], [0.0, 4.0]], dtype=np.float32),
        "one left": alone,
        "peaked": np.concatenate((np.array([[30.0]], dtype=np.float32), normal(4, 1, 39)), axis=1),
        "close": normal(5, 2, 40) * np.float32(1e-5) + 10,
        "wide": normal(6, 2, 40) * 40,
    }


def large_rows() -> dict[str, Rows]:
    """Rows of a real vocabulary's size, by name; never stored, so made afresh on both sides."""
    rank = np.argsort(normal(9, LARGE), kind="stable")
    zipf = (-1.3 * np.log(np.arange(1, LARGE + 1)))[rank].astype(np.float32)
    return {
        "large": normal(7, 1, LARGE) * 3,
        "large ties": np.round(normal(8, 1, LARGE) * 8) / 4,
        "large zipf": np.round(zipf[None] * 1024) / 1024,  # away from the platform's logarithm
    }


def distribution_cases() -> list[Case]:
    """Twenty configurations on one row of 300 tokens, to draw from."""
    row = normal(10, 1, 300) * 2
    return [Case("distribution", row, options, EOS[1], with_beams=False) for options in DISTRIBUTIONS]


def cases(rows_name: str, rows: Rows) -> Iterator[Case]:
    """Every configuration on one batch of rows."""
    few = rows.shape[1] <= max(EOS[1])
    for options in RULES + COMBINATIONS:
        yield Case(rows_name, rows, options, EOS[0], with_beams=False)
        if not few:
            yield Case(rows_name, rows, options, EOS[1], with_beams=True)
            if {"min_new_tokens", "exponential_decay_length_penalty"} & set(options):
                yield Case(rows_name, rows, options, EOS[1], with_beams=False)


def digest(array: npt.NDArray[Any]) -> str:
    """A fingerprint of an array's numbers; -0.0 counts as 0.0."""
    return hashlib.sha256((array + 0).tobytes()).hexdigest()[:16]
