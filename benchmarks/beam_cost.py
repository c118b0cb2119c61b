"""Time of a step of beam search, as a multiple of a step of as many independent rows.

Usage: python benchmarks/beam_cost.py    after `make smollm2`; writes benchmarks/results/beam_cost.json
"""

from functools import partial
from pathlib import Path
from statistics import median

from common import QUANTIZATIONS, Row, arguments, bundle, ratio, report, take_turns

from llmbuilder import TextGenerator

BEAMS = (2, 4, 8)
TOKENS = 48
PROMPT = "Once upon a time, there was a little fox who"
ENDLESS = {"eos_token_id": 0, "min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
"""No hypothesis ends early, on either side."""


def main() -> None:
    """Measure each quantization."""
    options = arguments("Time of a step of beam search beside one of as many rows.")
    rows: list[Row] = []
    for quantization in QUANTIZATIONS:
        rows += measure(bundle(options.models, quantization), quantization, options.rounds)
    report("beam_cost", rows, options.results)


def measure(directory: Path, quantization: str, rounds: int) -> list[Row]:
    """Milliseconds of a step for each number of rows, as beams and as samples at the default settings."""
    rows: list[Row] = []
    with TextGenerator(directory) as generator:
        for count in BEAMS:
            contestants = {
                "beams": partial(step, generator, num_beams=count, do_sample=False),
                "samples": partial(step, generator, num_return_sequences=count, seed=1),
            }
            found = take_turns(contestants, rounds)
            rows.append(
                {
                    "quantization": quantization,
                    "rows": count,
                    "ms a step, beams": median(found["beams"]),
                    "ms a step, samples": median(found["samples"]),
                    "ratio": ratio(found["beams"], found["samples"]),
                }
            )
    return rows


def step(generator: TextGenerator, **options: int | bool) -> float:
    """Milliseconds of a step, without the prompt's."""
    completion = generator.complete(PROMPT, **ENDLESS, **options)[0]
    return 1000 / completion.tokens_per_second


if __name__ == "__main__":
    main()
