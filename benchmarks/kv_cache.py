"""A KV cache in int8 against one in float32: speed of prompts and steps, quality and memory, in one run.

Usage: python benchmarks/kv_cache.py [--rounds 7]    after `make smollm2`; writes benchmarks/results/kv_cache.json
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from common import Row, arguments, bundle, ratio, report
from divergence import divergence
from quality import Bundle, texts

from llmbuilder.engine.model import Model

CONTEXTS = (32, 512, 1500, 4000)
STEPS = 24
SEED = 0
QUANTIZATION = "int8"
CACHES = {"float32": QUANTIZATION, "int8": f"{QUANTIZATION}-kv8"}
"""The bundle of each type of cache, by its name after ``smollm2-``."""


def main() -> None:
    """Compare at each context, then on both texts."""
    options = arguments("A KV cache in int8 against one in float32.")
    contestants = {cache: Bundle(bundle(options.models, name)) for cache, name in CACHES.items()}
    quality = measure_quality(options.models, contestants)
    rows = [row for context in CONTEXTS for row in compare(contestants, context, options.rounds, quality)]
    report("kv_cache", rows, options.results)


def measure_quality(models: Path, contestants: dict[str, Bundle]) -> dict[str, float]:
    """Mean KL divergence (nats) from the float32 model with a float32 cache, over all texts."""
    original = Bundle(bundle(models, "none"))
    cut = [window for windows in texts(models).values() for window in windows]
    reference = [original(ids) for ids in cut]
    return {cache: divergence(reference, contestant, cut)[0] for cache, contestant in contestants.items()}


def compare(
    contestants: dict[str, Bundle], context: int, rounds: int, quality: dict[str, float]
) -> Iterator[Row]:
    """One row for each type of cache, with its speed as a ratio to that in float32."""
    models = {cache: loaded(contestant) for cache, contestant in contestants.items()}
    prefills, steps = take_turns({cache: timed(model, context) for cache, model in models.items()}, rounds)
    for cache, model in models.items():
        yield {
            "context": context,
            "cache": cache,
            "prompt tokens/s": median(prefills[cache]),
            "of float32": ratio(prefills[cache], prefills["float32"]),
            "step tokens/s": median(steps[cache]),
            "of float32's": ratio(steps[cache], steps["float32"]),
            "bytes a token": model.bytes_per_token,
            "mean KL (nats)": quality[cache],
        }


def loaded(contestant: Bundle) -> Model:
    """The graph of a bundle, which knows its cache."""
    if not isinstance(contestant.model, Model):
        raise TypeError("Only the model of a bundle has a cache.")
    return contestant.model


def timed(model: Model, context: int) -> Callable[[], tuple[float, float]]:
    """Make a turn: tokens a second of a prompt of ``context`` tokens, and of the steps that follow it."""
    ids = np.random.default_rng(SEED).integers(model.facts.vocab_size, size=context).tolist()

    def turn() -> tuple[float, float]:
        decoder = model.decoder(capacity=context + STEPS)
        start = time.perf_counter()
        decoder.prefill(0, ids)
        prompt = context / (time.perf_counter() - start)
        seconds = []
        for token in ids[:STEPS]:
            start = time.perf_counter()
            decoder.step([token])
            seconds.append(time.perf_counter() - start)
        return prompt, 1 / median(seconds)

    return turn


def take_turns(
    contestants: dict[str, Callable[[], tuple[float, float]]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Both speeds of each contestant in each round; one goes before, unmeasured."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, measure in contestants.items():
            speeds = measure()
            if turn:
                measured[name].append(speeds)
    first, second = ({name: [pair[i] for pair in pairs] for name, pairs in measured.items()} for i in (0, 1))
    return first, second


if __name__ == "__main__":
    main()
