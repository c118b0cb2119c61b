"""Time of the sampler for one token at a vocabulary of 49,152, beside transformers and llama.cpp in the same run.

    python benchmarks/sampler.py --model artifacts/smollm2 --transformers oracle/bin/python \
        [--llamacpp llamacpp/bin/python] [--output benchmarks/results/sampler.json]

The logits are those of SmolLM2-135M on a short text. Peers run in environments of their own and take turns with us
configuration by configuration. Each number is the median per row, from logits to token; transformers is also timed
without its draw.
"""

import argparse
import json
import platform
import subprocess
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sampler_peers import Rows, history, median_microseconds

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.sampling import make_sampler

ROWS = 32
BATCHES = (1, 32)
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
TYPICAL: dict[str, dict[str, Any]] = {
    "defaults: temperature 0.8, top_k 50, top_p 0.9": {"temperature": 0.8, "top_k": 50, "top_p": 0.9},
    "greedy": {"do_sample": False},
    "temperature 0.7": {"temperature": 0.7},
    "top_k 50": {"top_k": 50},
    "top_p 0.9": {"top_p": 0.9},
    "temperature 0.7, top_p 0.95": {"temperature": 0.7, "top_p": 0.95},
    "min_p 0.05": {"min_p": 0.05},
    "typical_p 0.9": {"typical_p": 0.9},
    "defaults, repetition_penalty 1.1": {
        "repetition_penalty": 1.1,
        "temperature": 0.8,
        "top_k": 50,
        "top_p": 0.9,
    },
    "greedy, no_repeat_ngram_size 3": {"do_sample": False, "no_repeat_ngram_size": 3},
}
OTHER_RULES: dict[str, dict[str, Any]] = {
    "repetition_penalty 1.1": {"repetition_penalty": 1.1},
    "encoder_repetition_penalty 1.1": {"encoder_repetition_penalty": 1.1},
    "min_new_tokens 200": {"min_new_tokens": 200},
    "exponential_decay_length_penalty (100, 1.1)": {"exponential_decay_length_penalty": [100, 1.1]},
    "epsilon_cutoff 3e-4": {"epsilon_cutoff": 3e-4},
    "eta_cutoff 3e-4": {"eta_cutoff": 3e-4},
}


class Peer:
    """A peer in its own process; answers one request at a time."""

    def __init__(self, python: str, name: str, logits: dict[str, Any]) -> None:
        command = [python, str(Path(__file__).with_name("sampler_peers.py")), name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self.ask(logits)

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request and wait for its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The peer was started without pipes.")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description="Time the sampler beside its peers.")
    parser.add_argument("--model", required=True, help="Hugging Face directory of SmolLM2-135M")
    parser.add_argument("--transformers", required=True, help="Python with transformers 4.46.3 and torch")
    parser.add_argument("--llamacpp", help="Python with llama-cpp-python")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results") / "sampler.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as cleanup:
        path = Path(folder) / "logits.npy"
        logits = {"path": str(path), "model": options.model, "rows": ROWS}
        peers = [Peer(options.transformers, "transformers", logits)]
        if options.llamacpp:
            peers.append(Peer(options.llamacpp, "llamacpp", logits))
        for peer in peers:
            cleanup.callback(peer.close)
        # The array that is read and dropped makes glibc keep freed memory, as in a process that has loaded a model.
        results = measure(np.load(path).copy(), peers)
    versions = [f"NumPy {version('numpy')}", *(peer.version for peer in peers)]
    print_table(results)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "versions": versions, "unit": "microseconds per row", "results": results}
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(rows: Rows, peers: list[Peer]) -> list[dict[str, Any]]:
    """One record for each configuration and batch size."""
    results = []
    for name, config in (TYPICAL | OTHER_RULES).items():
        for batch in BATCHES:
            record = {"configuration": name, "batch": batch, "ours": ours(config, rows, batch)}
            for peer in peers:
                record |= peer.ask({"options": config, "batch": batch})
            results.append(record)
    return results


def ours(config: dict[str, Any], rows: Rows, batch: int) -> float:
    """Microseconds a row, from logits to token."""
    vocab_size = rows.shape[1]
    prompt, new = history(vocab_size)
    samplers = [
        make_sampler(
            GenerationConfig(**OFF | {"seed": 1, "max_new_tokens": 1_000} | config),
            prompt_ids=prompt,
            eos_ids=(0,),
            vocab_size=vocab_size,
            sequence_index=index,
        )
        for index in range(batch)
    ]

    def step(part: Rows) -> None:
        for sampler, row in zip(samplers, part, strict=True):
            sampler(row, new)

    return median_microseconds(step, rows, batch)


def print_table(results: list[dict[str, Any]]) -> None:
    """Print microseconds a row, and how many times longer each peer takes."""
    columns = ("transformers_processors", "transformers", "llamacpp")
    print(
        f"{'microseconds per row':48}{'batch':>6}{'ours':>8}"
        + "".join(f"{name[-15:]:>18}" for name in columns)
    )
    for record in results:
        line = f"{record['configuration']:48}{record['batch']:6}{record['ours']:8.0f}"
        for column in columns:
            taken = record.get(column)
            line += f"{taken:10.0f} ({taken / record['ours']:4.1f}x)" if taken else f"{'-':>18}"
        print(line)


def machine() -> str:
    """Processor and Python."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {len(models)} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
