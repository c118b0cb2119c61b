"""Do the quality measures mean something: real passages against damaged ones, and settings against each other.

The passages (benchmarks/data/passages.jsonl.gz) are of authors and chapters that nothing was fitted on.

Usage: python benchmarks/metrics.py [--models artifacts] [--judged 40]    writes metrics.json and comparisons.json
to benchmarks/results
"""

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, Row, bundle, report

from llmbuilder.inference import GenerationConfig, TextGenerator
from llmbuilder.quality.coherence import coherence
from llmbuilder.quality.compare import compare
from llmbuilder.quality.fluency import fluency
from llmbuilder.quality.judge import Judge
from llmbuilder.quality.relevance import relevance
from llmbuilder.quality.variety import repetition

PASSAGES = Path(__file__).with_name("data") / "passages.jsonl.gz"
DEMO = ROOT / "artifacts" / "storyteller" / "bundle"
BORDER = 0.7
SHOWN = 4


@dataclass(frozen=True)
class Passage:
    """Forty sentences of one author."""

    author: str
    source: str
    sentences: list[str]


@dataclass(frozen=True)
class Pair:
    """A real text and a damaged one, with what a measure makes of them."""

    source: str
    text: str
    real: float
    damaged: float


def main() -> None:
    """Measure and report."""
    options = arguments()
    passages = read()
    random = np.random.default_rng(1)
    with TextGenerator(DEMO) as demo:
        rows = list(statistics(passages, demo, random))
        compared = list(comparisons(demo, options.comparisons))
    if bundle(options.models, "int8").exists():
        with TextGenerator(bundle(options.models, "int8")) as generator:
            rows += judged(passages, Judge(generator), options.judged, random)
    report("metrics", rows, options.results)
    report("comparisons", compared, options.results)


def arguments() -> argparse.Namespace:
    """Where SmolLM2 and results lie, and how much is measured."""
    parser = argparse.ArgumentParser(description="Measure what the quality measures tell apart.")
    parser.add_argument(
        "--models", type=Path, default=ROOT / "artifacts", help="folder `make smollm2` filled"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--judged", type=int, default=40, help="passages for the measures with a model")
    parser.add_argument("--comparisons", type=int, default=100, help="comparisons of each kind")
    return parser.parse_args()


def read() -> list[Passage]:
    """The test passages."""
    with gzip.open(PASSAGES, "rt", encoding="utf-8") as lines:
        return [Passage(**json.loads(line)) for line in lines]


def statistics(
    passages: Sequence[Passage], demo: TextGenerator, random: np.random.Generator
) -> Iterator[Row]:
    """Rows of the measures without a model."""
    mix = partial(shuffle, random=random)
    for size in (40, 20, 10):
        yield row(f"coherence, {size} sentences", rearranged(passages, size, coherence, mix))
    yield row("relevance, 5 -> 10 sentences", continued(passages, relevance, random))
    yield row("fluency, shuffled words", damaged(passages, fluency, mix))
    gibberish = noise(demo, random)
    yield row("fluency, random tokens", damaged(passages, fluency, gibberish))
    yield row("repetition, loops", damaged(passages, lambda text: -repetition(text), loop))
    yield from no_sentences(passages, np.random.default_rng(2))


def no_sentences(passages: Sequence[Passage], random: np.random.Generator) -> Iterator[Row]:
    """Rows of coherence against sentences that are none."""
    for size in (40, 10):
        for name, damage in (("shuffled words", shuffle_words), ("words shuffled within", shuffle_within)):
            mixed = rearranged(passages, size, coherence, partial(damage, random=random))
            yield row(f"coherence, {size} sentences, {name}", mixed)


def judged(
    passages: Sequence[Passage], judge: Judge, count: int, random: np.random.Generator
) -> Iterator[Row]:
    """Rows of the measures with a model, over a part of the passages."""
    chosen = [passages[n] for n in np.linspace(0, len(passages) - 1, count).astype(int)]
    few = chosen[::3]
    mix = partial(shuffle, random=random)
    yield row("coherence, 10 sentences, SmolLM2", rearranged(chosen, 10, judge.coherence, mix))
    yield row("relevance, 5 -> 10 sentences, SmolLM2", continued(chosen[::2], judge.relevance, random))
    yield row("fluency, shuffled words, SmolLM2", damaged(few, judge.fluency, mix))


def rearranged(
    passages: Sequence[Passage],
    size: int,
    measure: Callable[[str], float],
    damage: Callable[[list[str]], list[str]],
) -> list[Pair]:
    """The first sentences as they are, and damaged."""
    texts = [(p, p.sentences[:size]) for p in passages]
    return [pair(p, measure, " ".join(parts), " ".join(damage(parts))) for p, parts in texts]


def continued(
    passages: Sequence[Passage], measure: Callable[[str, str], float], random: np.random.Generator
) -> list[Pair]:
    """Five sentences, with the ten that follow and with ten others of the same author."""
    pairs: list[Pair] = []
    for passage in passages:
        for start in (0, 20):
            part = passage.sentences[start : start + 15]
            prompt, own = " ".join(part[:5]), " ".join(part[5:])
            others = [p for p in passages if p.author == passage.author and p is not passage]
            other = " ".join(others[random.integers(len(others))].sentences[start + 5 : start + 15])
            pairs.append(Pair(passage.source, prompt, measure(own, prompt), measure(other, prompt)))
    return pairs


def damaged(
    passages: Sequence[Passage], measure: Callable[[str], float], damage: Callable[[list[str]], list[str]]
) -> list[Pair]:
    """Five sentences as they are, and with their words damaged."""
    texts = [(p, " ".join(p.sentences[10:15])) for p in passages]
    return [pair(p, measure, text, " ".join(damage(text.split()))) for p, text in texts]


def pair(passage: Passage, measure: Callable[[str], float], real: str, damaged: str) -> Pair:
    """A text and its damaged form, measured."""
    return Pair(passage.source, real, measure(real), measure(damaged))


def shuffle(items: Sequence[str], random: np.random.Generator) -> list[str]:
    """The items in a random order."""
    return [items[n] for n in random.permutation(len(items))]


def shuffle_words(parts: Sequence[str], random: np.random.Generator) -> list[str]:
    """All words of sentences in a random order."""
    return shuffle(" ".join(parts).split(), random)


def shuffle_within(parts: Sequence[str], random: np.random.Generator) -> list[str]:
    """Sentences in their order, the words of each in a random one."""
    return [" ".join(shuffle(part.split(), random)) for part in parts]


def noise(generator: TextGenerator, random: np.random.Generator) -> Callable[[list[str]], list[str]]:
    """A function from words to as many random tokens."""
    tokenizer = generator.tokenizer
    return lambda words: tokenizer.decode(
        random.integers(0, tokenizer.vocab_size, len(words)).tolist()
    ).split()


def loop(words: list[str]) -> list[str]:
    """The second half of a text replaced by its last eight words, again and again."""
    half = len(words) // 2
    return words[:half] + (words[half - 8 : half] * len(words))[: len(words) - half]


def row(name: str, pairs: Sequence[Pair]) -> Row:
    """How well a measure tells the pairs apart, and those where it fails worst, which are printed."""
    real, other = (np.array([getattr(p, side) for p in pairs]) for side in ("real", "damaged"))
    worst = sorted(pairs, key=lambda p: p.real - p.damaged)[:SHOWN]
    print(f"\n{name}: the pairs it gets most wrong")
    for p in worst:
        print(f"  {p.real:6.3f} real, {p.damaged:6.3f} damaged  {p.source}: {p.text[:90]}...")
    return {
        "measure": name,
        "pairs": len(pairs),
        "AUC": auc(real, other),
        "real median": float(np.median(real)),
        "damaged median": float(np.median(other)),
        "real at least 0.7": float((real >= BORDER).mean()),
        "damaged below 0.7": float((other < BORDER).mean()),
        "worst": [f"{p.source} ({p.real:.3f} < {p.damaged:.3f})" for p in worst if p.real < p.damaged],
    }


def auc(real: np.ndarray, other: np.ndarray) -> float:
    """Probability that a real text has more than a damaged one (area under the ROC curve)."""
    difference = real[:, None] - other[None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def comparisons(demo: TextGenerator, count: int) -> Iterator[Row]:
    """How often settings are found different: equal ones, and cold against hot."""
    for name, first, second in (("itself", 0.8, 0.8), ("0.3 and 1.8", 0.3, 1.8)):
        configs = [GenerationConfig(temperature=t, max_new_tokens=40) for t in (first, second)]
        found = [
            compare(demo, "Once upon a time", configs, num_samples=10, seed=seed).verdicts[0].differs
            for seed in range(count)
        ]
        yield {"temperature": name, "comparisons": count, "found different": sum(found)}


if __name__ == "__main__":
    main()
