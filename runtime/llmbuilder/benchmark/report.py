"""What was measured."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmbuilder.benchmark.plan import Plan
from llmbuilder.engine.cuda.card import Card


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
