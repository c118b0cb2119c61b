"""Decoding speed of the traced SmolLM2 bundle against a graph put together by hand, in the same run.

Usage: python benchmarks/decode_speed.py    after `make smollm2`; writes benchmarks/results/decode_speed.json
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import hand_graph
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from common import (
    QUANTIZATIONS,
    Row,
    TimedSession,
    arguments,
    bundle,
    ratio,
    report,
    source,
    take_turns,
    timed,
)

from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.loading import load_engine
from llmbuilder.engine.session import open_session

CONTEXTS = (16, 512)
PROCESSES = 12
STEPS = 16
EXACT = 1e-3
BITS = {"none": 32, "int8": 8, "int4": 4}

Contestant = tuple[Callable[[], float], TimedSession]
"""What measures a turn, and the session that it runs."""
Speeds = dict[str, list[float]]
"""Tokens per second of each turn, by contestant."""


class HandDecoder:
    """The least code that runs the hand-made graph: one sequence, everything bound once."""

    def __init__(self, graph: Path, facts: Any, capacity: int) -> None:
        """Load ``graph`` with the options that bundles get."""
        self.session: Any = open_session(graph, built_for="cpu", device="cpu", threads=None)
        shape = (1, facts.layers[0].heads, capacity, facts.layers[0].key_size)
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
        array = np.array([ids], np.int64)
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
        row: npt.NDArray[np.float32] = self.logits[0, 0]
        return row

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
    rows: list[Row] = []
    for quantization in QUANTIZATIONS:
        directory = bundle(options.models, quantization)
        with tempfile.TemporaryDirectory() as scratch:
            graph = Path(scratch) / "hand.onnx"
            hand_graph.build(source(options.models), BITS[quantization], graph)
            check_same_model(directory, graph, quantization)
            rows += [compare(directory, graph, quantization, context, options.rounds) for context in CONTEXTS]
    report("decode_speed", rows, options.results)


def compare(directory: Path, graph: Path, quantization: str, context: int, rounds: int) -> Row:
    """Tokens per second of both graphs.

    Where a graph's weights come to lie in memory makes it some percent faster or slower for the life of a process,
    and the one loaded last has better chances. So many fresh processes measure both, half of them in either order; the
    ratio is the median of theirs.
    """
    found: list[Speeds] = []
    for order in (("traced", "hand"), ("hand", "traced")) * (PROCESSES // 2):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            found.append(fresh.submit(measure, order, directory, graph, context, rounds).result())
    ratios = [ratio(speeds["traced"], speeds["hand"]) for speeds in found]
    graphs = [ratio(speeds["traced graph"], speeds["hand graph"]) for speeds in found]
    return {
        "quantization": quantization,
        "context": context,
        "traced tokens/s": median(median(speeds["traced"]) for speeds in found),
        "hand tokens/s": median(median(speeds["hand"]) for speeds in found),
        "ratio": median(ratios),
        "ratio of the graphs alone": median(graphs),
        "lowest": min(graphs),
        "highest": max(graphs),
    }


def measure(order: Sequence[str], directory: Path, graph: Path, context: int, rounds: int) -> Speeds:
    """Tokens per second of both graphs in turns, loaded in the order given: of whole steps, and within runs alone."""
    starts = {
        "traced": partial(run_traced, directory, context),
        "hand": partial(run_hand, directory, graph, context),
    }
    contestants = {name: starts[name]() for name in order}
    speeds = take_turns({name: turn for name, (turn, _) in contestants.items()}, rounds)
    for name, (_, session) in contestants.items():
        runs = np.array(session.seconds[-rounds * STEPS :]).reshape(rounds, STEPS)
        speeds[f"{name} graph"] = (STEPS / runs.sum(1)).tolist()
    return speeds


def check_same_model(directory: Path, graph: Path, quantization: str) -> None:
    """A yardstick that computes something else measures nothing."""
    ids = list(range(100, 116))
    model = load_engine(directory).model
    ours = model.decoder().prefill(0, ids)[0]
    theirs = HandDecoder(graph, model.facts, capacity=64).prefill(ids)
    difference = float(np.abs(ours - theirs).max())
    if quantization == "none" and difference > EXACT:
        sys.exit(f"The graphs compute different logits (by {difference:.3g}).")


def run_traced(directory: Path, context: int) -> Contestant:
    """Load the bundle; measure its tokens per second from ``context`` tokens on."""
    engine = load_engine(directory)
    session = timed(engine)
    decoder = engine.model.decoder(capacity=context + STEPS)
    decoder.prefill(0, range(100, 100 + context))

    def measure_once() -> float:
        decoder.lengths[0] = context
        return steps_per_second(lambda token: decoder.step([token]))

    return measure_once, session


def run_hand(directory: Path, graph: Path, context: int) -> Contestant:
    """As `run_traced`."""
    decoder = HandDecoder(graph, open_bundle(directory).manifest.model, context + STEPS)
    decoder.prefill(range(100, 100 + context))
    decoder.session = session = TimedSession(decoder.session)

    def measure_once() -> float:
        decoder.length = context
        return steps_per_second(decoder.step)

    return measure_once, session


def steps_per_second(step: Callable[[int], object]) -> float:
    """Tokens per second of some steps."""
    start = time.perf_counter()
    for token in range(STEPS):
        step(token)
    return STEPS / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
