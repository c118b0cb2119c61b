"""Tokens per second of batches: what decoding several sequences at once gains.

Usage: python benchmarks/batching.py    after `make smollm2`; writes benchmarks/results/batching.json
"""

from functools import partial
from pathlib import Path
from statistics import median

from common import QUANTIZATIONS, Row, arguments, bundle, ratio, report, take_turns

from llmbuilder import TextGenerator

BATCHES = (1, 2, 8, 32)
TOKENS = 32
PROMPT = "Once upon a time, there was a little fox who"


def main() -> None:
    """Measure each quantization."""
    options = arguments("Tokens per second of batches.")
    rows: list[Row] = []
    for quantization in QUANTIZATIONS:
        rows += measure(bundle(options.models, quantization), quantization, options.rounds)
    report("batching", rows, options.results)


def measure(directory: Path, quantization: str, rounds: int) -> list[Row]:
    """Tokens per second of each batch size, taken in turns."""
    with TextGenerator(directory) as generator:
        speeds = take_turns({str(n): partial(speed, generator, n) for n in BATCHES}, rounds)
    return [
        {
            "quantization": quantization,
            "rows": int(rows),
            "tokens/s": median(found),
            "gain": ratio(found, speeds["1"]),
        }
        for rows, found in speeds.items()
    ]


def speed(generator: TextGenerator, rows: int) -> float:
    """Tokens per second of all rows while all are decoding: the last row starts when the others wait for it."""
    configs = [{"seed": row} for row in range(rows)]
    completions = generator.complete_batch(
        [PROMPT] * rows, configs, batch_size=rows, max_new_tokens=TOKENS, early_stopping=False
    )
    return rows * completions[-1][0].tokens_per_second


if __name__ == "__main__":
    main()
