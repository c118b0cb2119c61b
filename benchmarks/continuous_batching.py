"""Continuous batching against fixed batches: throughput of 200 prompts of very uneven lengths, and whether texts agree.

Three ways to decode the same prompts with the same engine, never more than 16 rows live:

- continuous: a finished row's place is taken by the next prompt at once;
- fixed: 16 prompts at a time, the next 16 begin when the longest is done; finished rows are dropped meanwhile;
- padded: the same, but every row is computed until the longest is done, as engines without dropping do.

Usage: python benchmarks/continuous_batching.py [BUNDLE...]    writes benchmarks/results/continuous_batching.json
"""

import argparse
import time
from pathlib import Path

import numpy as np
from common import RESULTS, Row, report

from llmbuilder import TextGenerator

ROWS = 16
PROMPTS = 200
SHORTEST, LONGEST = 4, 256
DEMO = Path("artifacts/storyteller/bundle")
SUBJECTS = ("fox", "girl", "baker", "king", "boat", "bird", "giant", "teacher", "robot", "mouse")
PLACES = ("forest", "castle", "village", "desert", "harbour")

Prompt = tuple[str, int, int]
"""A prompt, its number of new tokens and its seed."""
Ids = list[tuple[int, ...]]


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description="Continuous batching against fixed batches.")
    parser.add_argument("bundles", type=Path, nargs="*", default=[DEMO], help="the models; the demo if none")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way; the fastest counts")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    rows = [row for directory in options.bundles for row in measure(directory, options.rounds)]
    report("continuous_batching", rows, options.results)


def measure(directory: Path, rounds: int) -> list[Row]:
    """Seconds and throughput of each way of decoding; wanted tokens only are counted."""
    prompts = make_prompts()
    wanted = sum(length for _, length, _ in prompts)
    ways = {"continuous": continuous, "fixed": fixed, "padded": padded}
    seconds = dict.fromkeys(ways, float("inf"))
    found: dict[str, Ids] = {}
    with TextGenerator(directory) as generator:
        continuous(generator, prompts[:ROWS])  # unmeasured: the first run of a process is slower
        for _ in range(rounds):
            for way, decode in ways.items():
                started = time.perf_counter()
                found[way] = decode(generator, prompts)
                seconds[way] = min(seconds[way], time.perf_counter() - started)
    return [
        {
            "model": directory.as_posix(),
            "way": way,
            "prompts": len(prompts),
            "tokens": wanted,
            "seconds": seconds[way],
            "tokens/s": wanted / seconds[way],
            "continuous is faster by": seconds[way] / seconds["continuous"],
            "same tokens": found[way] == found["continuous"],
        }
        for way in ways
    ]


def make_prompts() -> list[Prompt]:
    """Different prompts with lengths log-uniform from 4 to 256 tokens."""
    lengths = np.exp(np.random.default_rng(0).uniform(np.log(SHORTEST), np.log(LONGEST + 1), PROMPTS))
    return [
        (
            f"Once upon a time, {number} years ago, a {SUBJECTS[number % 10]} lived near the {PLACES[number % 5]}.",
            int(length),
            number,
        )
        for number, length in enumerate(lengths)
    ]


def continuous(generator: TextGenerator, prompts: list[Prompt]) -> Ids:
    """All prompts in one run."""
    return _complete(generator, prompts, [length for _, length, _ in prompts])


def fixed(generator: TextGenerator, prompts: list[Prompt]) -> Ids:
    """One run for every 16 prompts."""
    found: Ids = []
    for start in range(0, len(prompts), ROWS):
        found += continuous(generator, prompts[start : start + ROWS])
    return found


def padded(generator: TextGenerator, prompts: list[Prompt]) -> Ids:
    """One run for every 16 prompts, each to the longest length among them; what is too much is thrown away."""
    found: Ids = []
    for start in range(0, len(prompts), ROWS):
        part = prompts[start : start + ROWS]
        longest = max(length for _, length, _ in part)
        ids = _complete(generator, part, [longest] * len(part))
        found += [row[:length] for row, (_, length, _) in zip(ids, part, strict=True)]
    return found


def _complete(generator: TextGenerator, prompts: list[Prompt], lengths: list[int]) -> Ids:
    configs = [
        {"max_new_tokens": length, "seed": seed}
        for length, (_, _, seed) in zip(lengths, prompts, strict=True)
    ]
    done = generator.complete_batch(
        [text for text, _, _ in prompts], configs, batch_size=ROWS, early_stopping=False
    )
    return [completion.token_ids for (completion,) in done]


if __name__ == "__main__":
    main()
