"""Time of a step of beam search, as a multiple of a step of as many independent rows.

Usage: python benchmarks/beam_cost.py    after `make smollm2`; writes benchmarks/results/beam_cost.json
"""

from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from common import QUANTIZATIONS, Row, arguments, bundle, ratio, report, take_turns

from llmbuilder import TextGenerator

NO_FILTER = {"top_k": 0, "top_p": None}
SEARCH = {"do_sample": False}
CASES: tuple[tuple[str, int, dict[str, Any], dict[str, Any]], ...] = (
    ("search", 2, SEARCH, {}),
    ("search", 4, SEARCH, {}),
    ("search", 8, SEARCH, {}),
    ("search, stop strings", 8, SEARCH | {"stop_strings": ["\n\n", "The End"]}, {}),
    ("search, groups of 2", 8, SEARCH | {"num_beam_groups": 4, "diversity_penalty": 0.5}, {}),
    ("sampling", 8, {"seed": 1}, {}),
    ("sampling, no filter", 8, {"seed": 1} | NO_FILTER, NO_FILTER),
)
"""What is measured: a name, the number of rows, the options of the beams, those of the samples beside the defaults."""
TOKENS = 48
PROMPT = "Once upon a time, there was a little fox who"
ENDLESS: dict[str, Any] = {"eos_token_id": 0, "min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
"""No hypothesis ends early, on either side."""


def main() -> None:
    """Measure each quantization."""
    options = arguments("Time of a step of beam search beside one of as many rows.")
    rows: list[Row] = []
    for quantization in QUANTIZATIONS:
        rows += measure(bundle(options.models, quantization), quantization, options.rounds)
    report("beam_cost", rows, options.results)


def measure(directory: Path, quantization: str, rounds: int) -> list[Row]:
    """Milliseconds of a step of each case, as beams and as samples."""
    rows: list[Row] = []
    with TextGenerator(directory) as generator:
        for name, count, beams, samples in CASES:
            contestants = {
                "beams": partial(step, generator, num_beams=count, **beams),
                "samples": partial(step, generator, num_return_sequences=count, seed=1, **samples),
            }
            found = take_turns(contestants, rounds)
            rows.append(
                {
                    "quantization": quantization,
                    "beams": name,
                    "rows": count,
                    "ms a step, beams": median(found["beams"]),
                    "ms a step, samples": median(found["samples"]),
                    "ratio": ratio(found["beams"], found["samples"]),
                }
            )
    return rows


def step(generator: TextGenerator, **options: Any) -> float:
    """Milliseconds of a step, without the prompt's."""
    completion = generator.complete(PROMPT, **ENDLESS, **options)[0]
    return 1000 / completion.tokens_per_second


if __name__ == "__main__":
    main()
