"""Our speed on a shape: tokens a second as users get them, steps and prompts of a decoder, time outside the card."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from cudacheck.report import Section
from cudacheck.setup import Setup, random_ids
from cudacheck.targets import HOST_SHARE, PREFILL_MS, PROMPT, TOKENS_PER_SECOND
from llmbuilder.benchmark import Plan, measure
from llmbuilder.decoding.remote import RemoteRows
from llmbuilder.engine.loading import Engine
from llmbuilder.generator import TextGenerator

SPEEDS = "speeds.json"
_PROMPT = 32


def small(setup: Setup, section: Section) -> None:
    """The 135M shape."""
    _shape(setup, section, "135M", (1, 8, 32))


def large(setup: Setup, section: Section) -> None:
    """The 1B shape, with many rows too."""
    _shape(setup, section, "1B", (1, 8, 32, 128))


def known(setup: Setup) -> dict[str, float]:
    """Tokens a second that were measured, by shape, mode and rows."""
    path = setup.work / SPEEDS
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def key(name: str, rows: int, *, deterministic: bool) -> str:
    """The name of a measurement in `known`."""
    return f"{name}, {rows} rows, {'deterministic' if deterministic else 'not deterministic'}"


def _shape(setup: Setup, section: Section, name: str, rows: tuple[int, ...]) -> None:
    rows = setup.pick(rows, (1, 2))
    for deterministic in (True, False):
        mode = "deterministic" if deterministic else "not deterministic"
        with section.attempt(f"{name}, {mode}"):
            start = time.perf_counter()
            engine = setup.engine(name, deterministic=deterministic)
            section.measure(f"{name}, {mode}: load", seconds=time.perf_counter() - start)
            for count in rows:
                if section.enough(key(name, count, deterministic=deterministic), 3):
                    with section.attempt(key(name, count, deterministic=deterministic)):
                        _tokens(setup, section, name, engine, count, deterministic=deterministic)
                        _steps(setup, section, f"{name}, {count} rows, {mode}", engine, count)
            _prompts(setup, section, name, mode, engine)
            _outside(setup, section, f"{name}, {mode}", engine, judged=deterministic)


def _tokens(
    setup: Setup, section: Section, name: str, engine: Engine, rows: int, *, deterministic: bool
) -> None:
    """Tokens a second as `llmb bench` measures them: the whole loop with texts, after all rows' first tokens."""
    tokens = setup.pick(128, 4)
    plan = Plan(prompt_tokens=_PROMPT, new_tokens=tokens + 1)
    runs = [measure(engine, rows, plan, time.perf_counter) for _ in range(setup.pick(6, 2))][1:]
    speed = rows * tokens / statistics.median(run.decode for run in runs)
    label = key(name, rows, deterministic=deterministic)
    (setup.work / SPEEDS).write_text(json.dumps({**known(setup), label: speed}), encoding="utf-8")
    measured = {
        "seconds_of_prompts": statistics.median(run.first_token for run in runs),
        "slowest": rows * tokens / max(run.decode for run in runs),
        "fastest": rows * tokens / min(run.decode for run in runs),
    }
    least = TOKENS_PER_SECOND.get((name, deterministic), {}).get(rows)
    if least is None:
        section.measure(f"tokens/s: {label}", value=speed, **measured)
    else:
        section.target(f"tokens/s: {label}", speed, least=least, **measured)


def _steps(setup: Setup, section: Section, name: str, engine: Engine, rows: int) -> None:
    """Milliseconds of a decoder's step with all logits in NumPy, with a choice on the card, and with neither."""
    decoder: Any = engine.model.decoder(rows=rows, capacity=512)
    decoder.prefill(0, random_ids(engine, _PROMPT, 0))
    for row in range(1, rows):
        decoder.copy(0, row)
    tokens = [7] * rows

    def all_logits() -> None:
        logits = decoder.step(tokens)
        for row in range(rows):
            np.asarray(logits[row])

    measured = {
        "all_logits": median_ms(all_logits, setup.pick(60, 3)),
        "none_read": median_ms(lambda: decoder.step(tokens), setup.pick(60, 3)),
    }
    if isinstance(decoder.step(tokens), RemoteRows):
        for choice in ("likeliest", "largest"):
            chosen = partial(_chosen, decoder, tokens, choice)
            measured[choice] = median_ms(chosen, setup.pick(60, 3))
    section.measure(f"ms a step: {name}", **measured)


def _chosen(decoder: Any, tokens: list[int], choice: str) -> None:
    """A step, and what the card says of its logits."""
    getattr(decoder.step(tokens)[0], choice)()


def _prompts(setup: Setup, section: Section, name: str, mode: str, engine: Engine) -> None:
    length = min(PROMPT, engine.context_length - 100)
    ids = random_ids(engine, length, 3)
    decoder: Any = engine.model.decoder(rows=1, capacity=length)

    def prefill() -> None:
        decoder.truncate(0, 0)
        np.asarray(decoder.prefill(0, ids))

    value = median_ms(prefill, setup.pick(8, 1))
    section.target(f"ms for a prompt of {length}: {name}, {mode}", value, most=PREFILL_MS[name])
    generator = TextGenerator(engine)
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 2, "early_stopping": False}
    for prompt in (ids[:_PROMPT], ids):
        seconds = [generator.complete(prompt, **options)[0].seconds_to_first_token for _ in range(5)]
        measured = {"ms": 1000 * statistics.median(seconds)}
        section.measure(f"first token of a prompt of {len(prompt)}: {name}, {mode}", **measured)


def _outside(setup: Setup, section: Section, name: str, engine: Engine, *, judged: bool) -> None:
    """The share of a call's time that is spent outside of ONNX Runtime's runs, at one row."""
    generator, prompt = TextGenerator(engine), random_ids(engine, _PROMPT, 1)
    ways: dict[str, dict[str, Any]] = {"greedy": {"do_sample": False}, "sampled": {"seed": 1}}
    for way, own in ways.items():
        options = own | {"max_new_tokens": setup.pick(128, 4), "early_stopping": False}
        generator.complete(prompt, **options)
        shares = []
        for _ in range(3):
            with inside_runs() as seconds:
                start = time.perf_counter()
                generator.complete(prompt, **options)
                shares.append(1 - sum(seconds) / (time.perf_counter() - start))
        share = statistics.median(shares)
        if judged and way == "greedy":
            section.target(f"share of time outside of runs, {way}: {name}", share, most=HOST_SHARE)
        else:
            section.measure(f"share of time outside of runs, {way}: {name}", value=share)


@contextmanager
def inside_runs() -> Iterator[list[float]]:
    """Seconds of every run with a binding, of any session."""
    from onnxruntime import InferenceSession

    original, seconds = InferenceSession.run_with_iobinding, []

    def timed(self: Any, *arguments: Any, **options: Any) -> None:
        start = time.perf_counter()
        original(self, *arguments, **options)
        seconds.append(time.perf_counter() - start)

    InferenceSession.run_with_iobinding = timed
    try:
        yield seconds
    finally:
        InferenceSession.run_with_iobinding = original


def median_ms(work: Callable[[], object], times: int) -> float:
    """Milliseconds of a call, the median of some after three."""
    for _ in range(3):
        work()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return 1000 * statistics.median(found)
