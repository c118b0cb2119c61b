"""Time of a token outside of ONNX Runtime: sampling, text, bookkeeping, at the default settings.

Usage: python benchmarks/step_overhead.py    after `make smollm2`; writes benchmarks/results/step_overhead.json
"""

from pathlib import Path
from statistics import median

from common import QUANTIZATIONS, Row, arguments, bundle, report, take_turns, timed

from llmbuilder import TextGenerator
from llmbuilder.engine.loading import load_engine

TOKENS = 64
PROMPT = "Once upon a time, there was a little fox who"


def main() -> None:
    """Measure each quantization."""
    options = arguments("Time of a token outside of ONNX Runtime.")
    rows = [measure(bundle(options.models, q), q, options.rounds) for q in QUANTIZATIONS]
    report("step_overhead", rows, options.results)


def measure(directory: Path, quantization: str, rounds: int) -> Row:
    """Milliseconds of a token in total and inside of ONNX Runtime."""
    engine = load_engine(directory)
    session = timed(engine)
    generator = TextGenerator.from_engine(engine)
    inside = []

    def generate() -> float:
        session.seconds.clear()
        (completion,) = generator.complete(PROMPT, max_new_tokens=TOKENS, early_stopping=False)
        inside.append(sum(session.seconds[1:]) * completion.tokens_per_second / (TOKENS - 1))
        return 1 - inside[-1]

    share = median(take_turns({"outside": generate}, rounds)["outside"])
    step = sum(session.seconds[1:]) / (TOKENS - 1) / inside[-1]
    return {"quantization": quantization, "ms a token": 1000 * step, "share outside": share}


if __name__ == "__main__":
    main()
