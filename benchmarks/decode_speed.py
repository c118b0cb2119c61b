"""Decoding speed of the traced SmolLM2 bundle against a graph put together by hand, in the same run.

Usage: python benchmarks/decode_speed.py    after `make smollm2`; writes benchmarks/results/decode_speed.json
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hand_graph
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from common import QUANTIZATIONS, Row, arguments, bundle, report, source, take_turns

from llmbuilder.engine import load_engine
from llmbuilder.model import Decoder
from llmbuilder.session import open_session

CONTEXTS = (16, 512)
STEPS = 32
BITS = {"none": 32, "int8": 8, "int4": 4}


class HandDecoder:
    """The least code that runs the hand-made graph: one sequence, everything bound once."""

    def __init__(self, graph: Path, facts: Any, capacity: int) -> None:
        """Load ``graph`` with the options that bundles get."""
        self.session = open_session(graph, built_for="cpu", device="cpu", threads=None)
        shape = (1, facts.num_key_value_heads, capacity, facts.head_dim)
        names = [f"{layer}.{kind}" for layer in range(facts.num_layers) for kind in ("key", "value")]
        self.cache = {name: ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)) for name in names}
        self.logits = np.empty((1, 1, facts.vocab_size), np.float32)
        self.length = 0
        self.ids = np.zeros((1, 1), np.int64)
        self.last = np.zeros(1, np.int32)
        self.total = np.zeros((), np.int32)
        self.binding = self._bind(self.ids)

    def prefill(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Append ids; logits [V] of the last."""
        array = np.array([ids])
        return self._run(self._bind(array), len(ids))

    def step(self, token: int) -> npt.NDArray[np.float32]:
        """Append a token; logits [V]."""
        self.ids[0, 0] = token
        return self._run(self.binding, 1)

    def _run(self, binding: Any, count: int) -> npt.NDArray[np.float32]:
        self.length += count
        self.last[0] = self.length - 1
        self.total[...] = self.length
        self.session.run_with_iobinding(binding)
        return self.logits[0, 0]

    def _bind(self, ids: npt.NDArray[np.int64]) -> Any:
        binding = self.session.io_binding()
        for name, array in (("input_ids", ids), ("last_positions", self.last), ("total_length", self.total)):
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(self.logits))
        for name, value in self.cache.items():
            binding.bind_ortvalue_input(f"past.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        return binding


def main() -> None:
    """Compare at each quantization and context."""
    options = arguments("Decoding speed against a hand-made graph.")
    rows = []
    for quantization in QUANTIZATIONS:
        with tempfile.TemporaryDirectory() as scratch:
            graph = Path(scratch) / "hand.onnx"
            hand_graph.build(source(options.models), BITS[quantization], graph)
            rows += compare(bundle(options.models, quantization), graph, quantization, options.rounds)
    report("decode_speed", rows, options.results)


def compare(directory: Path, graph: Path, quantization: str, rounds: int) -> list[Row]:
    """Tokens per second of both graphs at each context."""
    model = load_engine(directory).model
    capacity = max(CONTEXTS) + STEPS
    traced = model.decoder(capacity=capacity)
    hand = HandDecoder(graph, model.facts, capacity)
    ids = np.random.default_rng(0).integers(model.facts.vocab_size, size=max(CONTEXTS)).tolist()
    rows: list[Row] = []
    for context in CONTEXTS:
        traced.truncate(0, 0)
        hand.length = 0
        ours, theirs = traced.prefill(0, ids[:context])[0], hand.prefill(ids[:context])
        check_same_model(ours, theirs, quantization)
        speeds = take_turns({"traced": run_traced(traced, context), "hand": run_hand(hand, context)}, rounds)
        rows.append(
            {
                "quantization": quantization,
                "context": context,
                "traced tokens/s": speeds["traced"],
                "hand tokens/s": speeds["hand"],
                "ratio": speeds["traced"] / speeds["hand"],
            }
        )
    return rows


def check_same_model(
    ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], quantization: str
) -> None:
    """A yardstick that computes something else measures nothing."""
    difference = float(np.abs(ours - theirs).max())
    if quantization == "none" and difference > 1e-3:
        sys.exit(f"The graphs compute different logits (by {difference:.3g}).")


def run_traced(decoder: Decoder, context: int) -> Callable[[], float]:
    """Measure tokens per second from ``context`` tokens on."""

    def measure() -> float:
        decoder.lengths[0] = context
        start = time.perf_counter()
        for token in range(STEPS):
            decoder.step([token])
        return STEPS / (time.perf_counter() - start)

    return measure


def run_hand(decoder: HandDecoder, context: int) -> Callable[[], float]:
    """As `run_traced`."""

    def measure() -> float:
        decoder.length = context
        start = time.perf_counter()
        for token in range(STEPS):
            decoder.step(token)
        return STEPS / (time.perf_counter() - start)

    return measure


if __name__ == "__main__":
    main()
