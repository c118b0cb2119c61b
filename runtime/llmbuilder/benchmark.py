"""What a user may expect of a bundle on this machine: loading, prompts, first token, tokens a second, memory.

A run is what `TextGenerator.complete_batch` does with so many prompts: all of the loop, greedy, with the text. Only are
all prompts computed before the first step here, so that prompts and steps can be told apart.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self, cast

import numpy as np

from llmbuilder.checks import StrPath, check_count, is_list, shown
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

Clock = Callable[[], float]

MOST_ROWS = 1024
MOST_REPEATS = 1000
LEAST_WINDOW = 3
_MOST_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    Raises:
        ConfigError: a number out of its range.
    """

    rows: Sequence[int] = (1, 8)
    """Numbers of prompts that are continued at once, each measured."""
    prompt_tokens: int = 512
    """Tokens of each prompt, at least 1."""
    new_tokens: int = 64
    """Tokens that each is continued with, at least 2."""
    repeat: int = 3
    """Runs of each number of rows, after one that does not count."""

    def __post_init__(self) -> None:
        """Check all numbers."""
        if not is_list(self.rows) or not self.rows:
            raise ConfigError(
                f"rows must be a list of whole numbers, such as [1, 8], got {shown(self.rows)}."
            )
        for rows in self.rows:
            check_count("An entry of rows", rows, most=MOST_ROWS)
        check_count("prompt_tokens", self.prompt_tokens, most=_MOST_TOKENS)
        check_count("new_tokens", self.new_tokens, 2, _MOST_TOKENS)
        check_count("repeat", self.repeat, most=MOST_REPEATS)

    def within(self, window: int) -> Self:
        """The same with fewer tokens, where a model's window holds no more.

        Raises:
            ConfigError: it holds less than a prompt of one token and two new ones.
        """
        if window < LEAST_WINDOW:
            raise ConfigError(
                f"The model's window of {window} tokens is too small to measure: a prompt of one token and two new "
                f"ones take {LEAST_WINDOW}. Export the model with a larger --max-context."
            )
        new = min(self.new_tokens, max(2, window // 2))
        return replace(self, new_tokens=new, prompt_tokens=min(self.prompt_tokens, window - new))


class Run(NamedTuple):
    """Seconds of one run."""

    first_token: float
    """From the call until every row has its first token."""
    prefill: float
    """The part of this that the model took for the prompts."""
    decode: float
    """From then until the texts are complete."""
    steps: float
    """The part of this that the model took for the steps."""


@dataclass(frozen=True, slots=True)
class RowsReport:
    """What was measured with a number of rows."""

    rows: int
    prompt_tokens: int
    new_tokens: int
    runs: tuple[Run, ...]

    @property
    def prefill_tokens_per_second(self) -> list[float]:
        """Tokens of prompts, which are computed one after the other, in each run."""
        return [self.rows * self.prompt_tokens / run.prefill for run in self.runs]

    @property
    def first_token_seconds(self) -> list[float]:
        """From the call until every row has its first token, in each run."""
        return [run.first_token for run in self.runs]

    @property
    def tokens_per_second(self) -> list[float]:
        """New tokens of all rows together, after the first of each, in each run."""
        return [self.rows * (self.new_tokens - 1) / run.decode for run in self.runs]

    @property
    def step_seconds(self) -> list[float]:
        """What one more token for every row takes, in each run."""
        return [run.decode / (self.new_tokens - 1) for run in self.runs]

    @property
    def outside_share(self) -> list[float]:
        """The part, 0 to 1, of a step that is not the model's: choosing tokens, the text, the loop."""
        return [1 - run.steps / run.decode for run in self.runs]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured of a bundle, and on what."""

    device: str
    card: Card | None
    """The card as it was after all runs; None on a CPU."""
    deterministic: bool
    processor: str
    threads: int
    runtime: str
    """Build and version of ONNX Runtime."""
    quantization: str
    bundle_bytes: int
    window: int
    plan: Plan
    """What was measured, within the window."""
    load_seconds: float
    """Opening the bundle, once: its files checked, the libraries and the model loaded."""
    rows: tuple[RowsReport, ...]
    peak_bytes: int | None
    """Most memory that the process has had; None where that is not known."""


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and half of the distance between lowest and highest as a part of it."""
    middle = statistics.median(values)
    return middle, (max(values) - min(values)) / 2 / middle if middle else 0.0


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
    what = "1 row" if rows == 1 else f"{rows} rows"
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
