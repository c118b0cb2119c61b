"""Fit the weights of the measures with a model: print the constants of `llmbuilder.quality.judge`.

Passages of the training part of the prose (see ``fit_quality.py``): real against shuffled sentences, and continuations
against others of the same author.

Usage: python scripts/fit_judge.py PROSE.jsonl BUNDLE [--passages 40]
"""

import argparse
from pathlib import Path

import numpy as np
from fit_quality import logistic, passages, read, split

from llmbuilder.inference import TextGenerator
from llmbuilder.quality.judge import Judge

PROMPT = 5
PASSAGE = 15
LONGEST_ORDER = 10


def main() -> None:
    """Measure and fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prose", type=Path, help="JSONL of source and text")
    parser.add_argument("bundle", type=Path, help="the model that judges")
    parser.add_argument("--passages", type=int, default=40, help="how many to fit on")
    options = parser.parse_args()
    training, _ = split(read(options.prose))
    cut = [(d.author, passage) for d in training for passage in passages(d.sentences, PASSAGE)]
    random = np.random.default_rng(0)
    chosen = random.permutation(len(cut))[: options.passages].tolist()
    with TextGenerator(options.bundle) as generator:
        judge = Judge(generator)
        print("gain, sentence:", fit_order(judge, [cut[n][1] for n in chosen], random))
        print("prompt, constant:", fit_prompt(judge, cut, chosen, random))


def fit_order(judge: Judge, chosen: list[list[str]], random: np.random.Generator) -> np.ndarray:
    """Weights of the gain of an order and of the number of sentences; every other passage is a short one."""
    rows: list[tuple[float, int]] = []
    for number, passage in enumerate(chosen):
        parts = passage[: LONGEST_ORDER if number % 2 else PROMPT]
        mixed = [parts[n] for n in random.permutation(len(parts))]
        rows += [(judge.order_gain(parts), len(parts)), (judge.order_gain(mixed), len(parts))]
    return logistic(np.array(rows), np.tile([1.0, 0.0], len(chosen)), 1e-3, constant=False)


def fit_prompt(
    judge: Judge, cut: list[tuple[str, list[str]]], chosen: list[int], random: np.random.Generator
) -> np.ndarray:
    """Weight and constant of the gain by a prompt."""
    rows: list[list[float]] = []
    for number in chosen:
        author, passage = cut[number]
        others = [p for name, p in cut if name == author and p is not passage]
        prompt = " ".join(passage[:PROMPT])
        texts = (passage, others[random.integers(len(others))])
        rows += [[judge.prompt_gain(" ".join(text[PROMPT:]), prompt)] for text in texts]
    return logistic(np.array(rows), np.tile([1.0, 0.0], len(chosen)), 1e-3)


if __name__ == "__main__":
    main()
