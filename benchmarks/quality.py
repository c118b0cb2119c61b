"""What quantization costs: KL divergence of the int8, int4 and w8a8 bundles of SmolLM2 from the float32 one.

In the same run, if there is a Python with llama-cpp-python, llama.cpp's quantizations from its own float32, of the same
weights on the same tokens.

Usage: python benchmarks/quality.py [--llamacpp llamacpp/bin/python]    after `make smollm2`; writes
benchmarks/results/quality.json
"""

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import RESULTS, ROOT, Row, bundle, report
from divergence import Logits, Windows, divergence, windows

from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.engine.loading import load_engine

DATA = Path(__file__).with_name("data")
TOKENS = 1000
GGUF = ROOT / ".cache" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Measure ours, then the peer's, and report."""
    options = arguments()
    rows = list(ours(options.models))
    if options.llamacpp is not None:
        rows += theirs(options.models, options.llamacpp)
    report("quality", rows, options.results)


def arguments() -> argparse.Namespace:
    """Where models and results lie, and the peer's Python."""
    parser = argparse.ArgumentParser(description="Measure what quantization costs.")
    parser.add_argument(
        "--models", type=Path, default=ROOT / "artifacts", help="folder `make smollm2` filled"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--llamacpp", help="Python with llama-cpp-python")
    return parser.parse_args()


def texts(models: Path) -> dict[str, Windows]:
    """The first tokens of each text, in windows."""
    encode = load_engine(bundle(models, "none")).tokenizer.encode
    paths = sorted(DATA.glob("*.txt"))
    return {path.stem: windows(encode(path.read_text(encoding="utf-8"))[:TOKENS]) for path in paths}


def ours(models: Path) -> Iterator[Row]:
    """Rows of the int8, int4 and w8a8 bundles."""
    cut = texts(models)
    original = Bundle(bundle(models, "none"))
    reference = {name: [original(ids) for ids in parts] for name, parts in cut.items()}
    for quantization in ("int8", "int4", "w8a8"):
        path = bundle(models, quantization)
        quantized = Bundle(path)
        size = (path / WEIGHTS_NAME).stat().st_size
        for name, parts in cut.items():
            kl, agreement = divergence(reference[name], quantized, parts)
            yield row("llmbuilder", quantization, name, size, kl, agreement)


def theirs(models: Path, python: str) -> Iterator[Row]:
    """Rows of llama.cpp's quantizations."""
    command = [python, str(Path(__file__).with_name("quality_llamacpp.py")), str(GGUF)]
    done = subprocess.run(
        command, input=json.dumps(texts(models)), stdout=subprocess.PIPE, text=True, check=True
    )
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        yield row(
            f"llama-cpp-python {answer['version']}",
            answer["quantization"],
            answer["text"],
            answer["bytes"],
            answer["kl"],
            answer["agreement"],
        )


def row(engine: str, quantization: str, text: str, size: int, kl: float, agreement: float) -> Row:
    """One line of the results; ``size`` is in bytes."""
    return {
        "engine": engine,
        "quantization": quantization,
        "text": text,
        "weights MB": round(size / 1e6, 1),
        "mean KL (nats)": kl,
        "same likeliest token": agreement,
    }


class Bundle:
    """A bundle as a function from token ids to logits [length, V]."""

    def __init__(self, directory: Path) -> None:
        """Load the bundle in ``directory``."""
        self.model = load_engine(directory).model

    def __call__(self, ids: Sequence[int]) -> Logits:
        """Logits of every position of ``ids``."""
        return self.model.decoder(capacity=len(ids)).prefill(0, ids, keep=len(ids))


if __name__ == "__main__":
    main()
