"""What all benchmarks share: the models, fair turns, the machine's description, and results as table and JSON."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from llmbuilder.engine.limits import available_threads
from llmbuilder.engine.loading import Engine
from llmbuilder.engine.machine import processor_name
from llmbuilder.engine.model import Model

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
QUANTIZATIONS = ("none", "int8", "int4")

Row = Mapping[str, Any]


def arguments(description: str) -> argparse.Namespace:
    """Options of every benchmark: where SmolLM2 lies, and how often to measure."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--models", type=Path, default=ROOT / "artifacts", help="folder that `make smollm2` filled"
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contestant")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    if not source(options.models).is_dir():
        parser.error(f"there is no SmolLM2 in {options.models}: run `make smollm2`")
    return options


def source(models: Path) -> Path:
    """The Hugging Face directory of SmolLM2."""
    return models / "smollm2"


def bundle(models: Path, quantization: str) -> Path:
    """The SmolLM2 bundle of a quantization."""
    return models / f"smollm2-{quantization}"


class TimedSession:
    """A session that notes how long each run took."""

    def __init__(self, session: Any) -> None:
        """Time the runs of ``session``."""
        self._session = session
        self.seconds: list[float] = []

    def io_binding(self) -> Any:
        """As the session's."""
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        """As the session's, timed."""
        start = time.perf_counter()
        self._session.run_with_iobinding(binding)
        self.seconds.append(time.perf_counter() - start)


def timed(engine: Engine) -> TimedSession:
    """Note from now on how long each run of a loaded bundle takes."""
    if not isinstance(engine.model, Model):
        raise TypeError("Only the model of a bundle runs sessions.")
    engine.model.session = session = TimedSession(engine.model.session)
    return session


def take_turns(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measurements of each contestant; they run in turns, so that all see the same machine.

    One turn each goes before, unmeasured.
    """
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, measure in contestants.items():
            value = measure()
            if turn:
                measured[name].append(value)
    return measured


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios within each turn, so that a machine that slows down counts for neither."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def report(name: str, rows: Sequence[Row], folder: Path) -> None:
    """Print rows of equal keys as a table and write them with the machine's description to ``<name>.json``."""
    texts = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for line in texts:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": list(rows)}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the numbers depend on; ``load`` is the number of busy threads on average over the last minute."""
    packages = ("onnxruntime", "numpy", "tokenizers")
    return {
        "cpu": processor_name(),
        "threads": available_threads(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def _text(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
