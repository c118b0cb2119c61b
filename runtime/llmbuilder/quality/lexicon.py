"""What the measures know of English: word frequencies, word order, spelling, and fitted weights.

One file beside this module, built by ``scripts/fit_quality.py``, which names its sources.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbuilder.arrays import DoubleArray

PATH = Path(__file__).with_name("english.npz")


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Tables of English, and the weights of the measures."""

    idf: Mapping[str, float]
    """Inverse document frequency (nats) of stems; documents are five sentences long."""
    unknown_idf: float
    """That of stems which are not in the table."""
    classes: Mapping[str, int]
    """Frequent words, each a class of the word order table."""
    order: DoubleArray
    """[classes, classes]: pointwise mutual information (nats) of neighbouring word classes."""
    spelling: DoubleArray
    """[28, 28, 28]: log-probability (nats) of a letter after two others; 0 is the border, 27 any other sign."""
    style_mean: DoubleArray
    """[42]: mean of each feature of a sentence."""
    style_scale: DoubleArray
    """[42]: standard deviation of each."""
    succession: DoubleArray
    """[42, 42]: how much a feature of one sentence speaks for a feature of the next (log-odds)."""
    overlap: DoubleArray
    """[4]: how much each kind of shared vocabulary speaks for two sentences being neighbours (log-odds)."""
    calibration: Mapping[str, DoubleArray]
    """For each measure the weights of its raw values, then the constant, of a logistic map into 0..1."""


@functools.cache
def lexicon() -> Lexicon:
    """The tables, loaded when first needed."""
    with np.load(PATH, allow_pickle=False) as stored:
        return read_lexicon({name: stored[name] for name in stored.files})


def read_lexicon(arrays: Mapping[str, NDArray[Any]]) -> Lexicon:
    """The tables from arrays as stored; weights that are not there yet are zeros."""
    features = arrays["style_mean"].size
    return Lexicon(
        idf=dict(zip(_lines(arrays["stems"]), arrays["idf"].astype(np.float64).tolist(), strict=True)),
        unknown_idf=float(arrays["unknown_idf"]),
        classes={word: number for number, word in enumerate(_lines(arrays["classes"]))},
        order=arrays["order"].astype(np.float64) / 16,
        spelling=arrays["spelling"].astype(np.float64) / -16,
        style_mean=arrays["style_mean"].astype(np.float64),
        style_scale=arrays["style_scale"].astype(np.float64),
        succession=arrays.get("succession", np.zeros((features, features))).astype(np.float64),
        overlap=arrays.get("overlap", np.zeros(4)).astype(np.float64),
        calibration={
            name.removeprefix("map_"): array for name, array in arrays.items() if name.startswith("map_")
        },
    )


def _lines(characters: NDArray[Any]) -> list[str]:
    return characters.tobytes().decode().split("\n")


def log_odds(measure: str, *values: float) -> float:
    """The fitted combination of a measure's raw values."""
    weights = lexicon().calibration[measure]
    return float(np.dot(weights[:-1], values) + weights[-1])


def share(log_odds: float) -> float:
    """Logistic map of log-odds into 0..1."""
    return float(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))
