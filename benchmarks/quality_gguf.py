"""What K-quants cost: KL divergence of SmolLM2's bundles made of Q4_K_M and Q6_K files from the float32 bundle.

llama.cpp writes the files, from its own float32 of the same weights; beside ours stands what it measures of itself.

Usage: python benchmarks/quality_gguf.py    after `make smollm2`; writes benchmarks/results/quality_gguf.json
"""

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from common import RESULTS, ROOT, Row, bundle, report
from divergence import divergence
from peers import llama
from peers.environments import call
from peers.places import MODELS, PYTHONPATH
from quality import GGUF, Bundle, row, texts

from llmbuilder.bundle.manifest import WEIGHTS_NAME, Quantization
from llmbuilder_export import export_model

KINDS = ("Q6_K", "Q4_K_M")
QUANTIZATIONS: tuple[Quantization, ...] = ("none", "int8", "int4")
FOLDER = MODELS / "llama"


def main() -> None:
    """Let llama.cpp write the files, export them, measure, and report."""
    parser = argparse.ArgumentParser(description="Measure what K-quants cost.")
    parser.add_argument(
        "--models", type=Path, default=ROOT / "artifacts", help="folder `make smollm2` filled"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    python = str(llama.install())
    rows = [*theirs(options.models, python), *ours(options.models, python)]
    report("quality_gguf", rows, options.results)


def written(kind: str, python: str) -> Path:
    """llama.cpp's file of a kind."""
    path = FOLDER / f"SmolLM2-135M-Instruct.{kind}.gguf"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        variables = {**llama.variables(), "PYTHONPATH": PYTHONPATH}
        begin = GGUF if kind == "F32" else written("F32", python)
        form = "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"
        call([python, "-m", "peers.llama", str(begin), str(path), form, "mixed"], variables)
    return path


def ours(models: Path, python: str) -> Iterator[Row]:
    """Rows of the bundles that are made of each file."""
    cut = texts(models)
    original = Bundle(bundle(models, "none"))
    reference = {name: [original(ids) for ids in parts] for name, parts in cut.items()}
    for kind in KINDS:
        for quantization in QUANTIZATIONS:
            path = MODELS / "llmbuilder" / f"{kind}-{quantization}"
            export_model(written(kind, python), output=path, quantization=quantization, overwrite=True)
            exported = Bundle(path)
            size = (path / WEIGHTS_NAME).stat().st_size
            for name, parts in cut.items():
                kl, agreement = divergence(reference[name], exported, parts)
                yield row("llmbuilder", f"{kind}, then {quantization}", name, size, kl, agreement)


def theirs(models: Path, python: str) -> Iterator[Row]:
    """What llama.cpp measures of its own files."""
    command = [python, str(Path(__file__).with_name("quality_llamacpp.py")), str(GGUF), *KINDS]
    environment = {**os.environ, **llama.variables()}
    given = json.dumps(texts(models))
    done = subprocess.run(
        command, input=given, stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        engine = f"llama-cpp-python {answer['version']}"
        size, kl, agreement = answer["bytes"], answer["kl"], answer["agreement"]
        yield row(engine, answer["quantization"], answer["text"], size, kl, agreement)


if __name__ == "__main__":
    main()
