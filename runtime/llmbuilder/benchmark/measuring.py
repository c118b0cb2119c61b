"""Continue prompts, and take the time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from llmbuilder.benchmark.plan import Plan
from llmbuilder.benchmark.report import Benchmark, RowsReport, Run
from llmbuilder.checks import StrPath
from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.loop import Loop
from llmbuilder.decoding.rows import LEAST_CHUNK, Filling, RowDecoder
from llmbuilder.decoding.running import open_loop
from llmbuilder.engine.cuda.card import Card, card
from llmbuilder.engine.installation import runtime_name
from llmbuilder.engine.limits import peak_memory
from llmbuilder.engine.loading import Engine
from llmbuilder.engine.machine import processor_name
from llmbuilder.engine.session import Device, card_index
from llmbuilder.engine.threads import usable_threads
from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder.showing import counted

Clock = Callable[[], float]


def run_benchmark(
    model_path: StrPath,
    plan: Plan | None = None,
    *,
    device: Device = "auto",
    threads: int | None = None,
    deterministic: bool = True,
    progress: Callable[[str], None] = lambda _: None,
    clock: Clock = time.perf_counter,
) -> Benchmark:
    """Load a bundle, or the one made from a checkpoint, and measure it.

    Args:
        model_path: see `TextGenerator`, as for the device and threads.
        plan: what to measure; None: the plan's defaults.
        device: where to run.
        threads: CPU threads; None: as many as this process may use.
        deterministic: on a card, see `TextGenerator`.
        progress: told in a few words what is done next.
        clock: seconds.

    Raises:
        ModelNotFoundError, BundleError, TokenizerError, DeviceError: the bundle cannot be opened, or does not run.
        ConfigError: the window is too small, or memory for that many rows.
    """
    plan = plan or Plan()
    progress("loading")
    start = clock()
    with TextGenerator(model_path, device=device, threads=threads, deterministic=deterministic) as generator:
        load_seconds = clock() - start
        engine = generator.engine
        plan = plan.within(engine.context_length)
        reports = tuple(_measure_rows(engine, rows, plan, progress, clock) for rows in plan.rows)
        where, on_card = place_of(engine, device)
    bundle = engine.bundle
    return Benchmark(
        device=where,
        card=on_card,
        deterministic=deterministic,
        processor=processor_name(),
        threads=usable_threads(engine.model.facts, threads),
        runtime=runtime_name(),
        quantization=bundle.manifest.quantization if bundle else "none",
        bundle_bytes=bundle.size if bundle else 0,
        window=engine.context_length,
        plan=plan,
        load_seconds=load_seconds,
        rows=reports,
        peak_bytes=peak_memory(),
    )


def place_of(engine: Engine, device: Device) -> tuple[str, Card | None]:
    """The device, and its card, that an engine opened for ``device`` computes on."""
    if engine.bundle is None:
        return "cpu", None
    index = card_index(engine.bundle.directory, engine.bundle.manifest.device, device)
    return ("cpu", None) if index is None else (f"cuda:{index}", card(index))


def _measure_rows(
    engine: Engine, rows: int, plan: Plan, progress: Callable[[str], None], clock: Clock
) -> RowsReport:
    runs = []
    what = counted(rows, "row")
    for number in range(plan.repeat + 1):
        progress(f"{what}, run {number} of {plan.repeat}" if number else f"{what}, warming up")
        runs.append(measure(engine, rows, plan, clock))
    return RowsReport(rows, plan.prompt_tokens, plan.new_tokens, tuple(runs[1:]))


def measure(engine: Engine, rows: int, plan: Plan, clock: Clock) -> Run:
    """Continue ``rows`` prompts of random tokens once.

    The bundle's own defaults do not count, so that bundles can be compared, and nothing ends a text early.

    Raises:
        ConfigError: there is no memory for so many rows at once.
        DeviceError: the device fails.
    """
    generator = TextGenerator.from_engine(replace(engine, defaults={}))
    prompts = [
        np.random.default_rng(row).integers(engine.usable_vocab, size=plan.prompt_tokens).tolist()
        for row in range(rows)
    ]
    config = GenerationConfig(do_sample=False, early_stopping=False, max_new_tokens=plan.new_tokens)
    model = _Watched(engine, clock)
    start = clock()
    groups = [generator.group(ids, config) for ids in prompts]
    loop = open_loop(model.decoder, groups, rows)
    loop.chunk = rows * plan.prompt_tokens + LEAST_CHUNK
    _advance(loop, rows)
    first, prefill = clock(), model.seconds
    while not loop.idle:
        _advance(loop, rows)
    for group in groups:
        group.completions()
    return Run(first - start, prefill, clock() - first, model.seconds - prefill)


def _advance(loop: Loop, rows: int) -> None:
    """Compute all prompts, or a token for every row, which all must have joined."""
    changed = loop.advance()
    for group in changed:
        if group.error is not None:
            raise group.error
    if loop.waiting:
        raise ConfigError(
            f"There is no memory for {rows} rows of so many tokens at once. "
            "Measure fewer rows, or with fewer prompt_tokens and new_tokens."
        )


class _Watched:
    """A model of whose decoders' calls the ``seconds`` are added up."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._model = engine.model
        self._clock = clock
        self.seconds = 0.0

    def decoder(self, **room: int) -> RowDecoder:
        return cast("RowDecoder", _WatchedDecoder(self._model.decoder(**room), self))

    def time(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start = self._clock()
        try:
            return call(*args, **kwargs)
        finally:
            self.seconds += self._clock() - start


class _WatchedDecoder:
    """A decoder with all that it can, of which every call is timed."""

    def __init__(self, decoder: RowDecoder, watch: _Watched) -> None:
        self._decoder = decoder
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._decoder, name)
        if not callable(value):
            return value
        call = partial(self._watch.time, value)
        setattr(self, name, call)  # from now on found without this method
        return call

    def begin(self, row: int, ids: Sequence[int]) -> Filling:
        filling: Filling = self._watch.time(self._decoder.begin, row, ids)
        filling.decoder = cast("RowDecoder", self)
        return filling
