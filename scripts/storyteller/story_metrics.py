"""How good a set of generated stories is, as pure functions."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import mean
from typing import TypedDict


class Sample(TypedDict):
    """One generated story; `ended` says whether the model closed it with <eos> itself."""

    prompt: str
    seed: int
    text: str
    ended: bool


def words(text: str) -> list[str]:
    """The words of `text` in lower case."""
    return re.findall(r"[a-z']+", text.lower())


def distinct_2(texts: Iterable[Sequence[object]]) -> float:
    """Different pairs of neighbours over all pairs, counted over all of `texts` together."""
    pairs = [pair for text in texts for pair in pairwise(text)]
    return len(set(pairs)) / max(1, len(pairs))


def longest_shared_run(text: Sequence[object], others: Iterable[Sequence[object]]) -> int:
    """Length of the longest run of items of `text` that also stands in one of `others`."""
    haystack = "\n".join(_joined(other) for other in others)
    longest = 0
    for start in range(len(text)):
        while start + longest < len(text) and _joined(text[start : start + longest + 1]) in haystack:
            longest += 1
    return longest


def _joined(items: Sequence[object]) -> str:
    return f" {' '.join(map(str, items))} "


def summarize(samples: Sequence[Sample], shared_runs: Sequence[int]) -> dict[str, float | int | bool]:
    """The figures of a set of samples; `shared_runs` has what each shares with the training text."""
    texts = [words(sample["text"]) for sample in samples]
    summary: dict[str, float | int | bool] = {
        "samples": len(samples),
        "ended": sum(sample["ended"] for sample in samples),
        "words_mean": round(mean(map(len, texts)), 1),
        "distinct_2_mean": round(mean(distinct_2([text]) for text in texts), 3),
        "distinct_2_pooled": round(distinct_2(texts), 3),
        "longest_shared_run": max(shared_runs),
    }
    summary["accepted"] = (
        summary["ended"] >= 0.75 * len(samples)
        and min(summary["distinct_2_mean"], summary["distinct_2_pooled"]) >= 0.5
        and summary["longest_shared_run"] < 30
    )
    return summary
