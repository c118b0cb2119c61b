"""Decoders by the thousand: the card's memory stays flat, captured graphs as many as there are sizes."""

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cudacheck.memory import free_bytes
from cudacheck.report import Section
from cudacheck.setup import Setup, equal, fetched, random_ids
from cudacheck.shells import Array
from llmbuilder.engine.loading import Engine

SIZES = ((1, 64), (1, 256), (2, 100), (8, 128), (8, 256), (20, 64), (32, 200))
"""(rows, capacity) of decoders that come and go."""
THREADS = 4
FLAT = 32 << 20
"""Bytes by which memory may differ between the first round and the last."""


def run(setup: Setup, section: Section) -> None:
    """One thread, then several at once."""
    for name, count in (("demo", setup.pick(1000, 21)), ("135M", setup.pick(140, 7))):
        with section.attempt(name):
            engine = setup.engine(name)
            _one_after_the_other(setup, section, name, engine, count)
            _at_once(setup, section, name, engine)


def _one_after_the_other(setup: Setup, section: Section, name: str, engine: Engine, count: int) -> None:
    expected = [use(engine, *size) for size in SIZES]
    gc.collect()
    graphs, free = _graphs(engine), _free(setup)
    wrong = 0
    for number in range(count):
        if section.left < 5:
            section.leave_out(f"{name}: all of {count} decoders", f"time was up after {number}")
            break
        found = use(engine, *SIZES[number % len(SIZES)])
        wrong += not equal(found, expected[number % len(SIZES)])
    gc.collect()
    lost = None if free is None else free - (_free(setup) or 0)
    passed = wrong == 0 and _graphs(engine) == graphs and (lost is None or lost <= FLAT)
    section.check(
        f"{name}: {count} decoders one after the other",
        passed,
        wrong=wrong,
        size_pairs=len(SIZES),
        graphs_after_the_first_round=graphs,
        graphs=_graphs(engine),
        bytes_lost=lost,
    )


def _at_once(setup: Setup, section: Section, name: str, engine: Engine) -> None:
    expected = [use(engine, *size) for size in SIZES]
    before, rounds = _graphs(engine), setup.pick(5, 1)

    def work(thread: int) -> int:
        order = [(thread + turn) % len(SIZES) for turn in range(rounds * len(SIZES))]
        return sum(not equal(use(engine, *SIZES[i]), expected[i]) for i in order)

    graphs, free = [], []
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in range(3):
            wrong = sum(threads.map(work, range(THREADS)))
            gc.collect()
            graphs.append(_graphs(engine))
            free.append(_free(setup))
    bounded = before is None or max(graphs) <= THREADS * before
    first, last = free[0], free[-1]
    lost = None if first is None or last is None else first - last
    section.check(
        f"{name}: decoders in {THREADS} threads at once",
        wrong == 0 and bounded,
        wrong=wrong,
        graphs_before=before,
        graphs=graphs,
        bytes_lost_between_rounds=lost,
    )


def use(engine: Engine, rows: int, capacity: int) -> Array:
    """Open a decoder, compute a little with it, drop it; the last logits [rows, V]."""
    decoder: Any = engine.model.decoder(rows=rows, capacity=capacity)
    decoder.prefill(0, random_ids(engine, 12, rows))
    for row in range(1, rows):
        decoder.copy(0, row)
    for token in (5, 6):
        logits = decoder.step([token] * rows)
    return np.stack([fetched(logits[row]) for row in range(rows)])


def _graphs(engine: Engine) -> Any:
    return getattr(engine.model, "graphs_captured", None)


def _free(setup: Setup) -> int | None:
    return free_bytes() if setup.on_card else None
