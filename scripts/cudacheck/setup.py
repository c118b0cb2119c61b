"""What all sections work with: the bundles, where they run, and the card."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from cudacheck.shells import Array
from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.loading import Engine, load_engine
from llmbuilder.engine.model import Model

ROOT = Path(__file__).resolve().parent.parent.parent
_MACHINE = "machine.json"
T = TypeVar("T")


FAKE = "fake"
"""A device that is none: bundles for CUDA with the code for it, in the memory of the process."""


@dataclass(frozen=True)
class Setup:
    """Shells in ``models``, their bundles in ``work``, to be run on ``device``; a rehearsal does less of everything."""

    models: Path
    work: Path
    device: str = "cuda"
    rehearse: bool = False

    def engine(
        self, name: str, *, deterministic: bool = True, device: str | None = None, **more: Any
    ) -> Engine:
        """Load a bundle, which nothing shares."""
        device = device or self.device
        if device != FAKE:
            return load_engine(self.work / name, device=device, deterministic=deterministic, **more)
        return _faked(load_engine(self.work / name, device="cpu", **more), deterministic=deterministic)

    def pick(self, usual: T, rehearsal: T) -> T:
        """The first on a card, the second in a rehearsal."""
        return rehearsal if self.rehearse else usual

    @property
    def on_card(self) -> bool:
        """Whether there is a card to measure."""
        import torch

        return self.device.startswith("cuda") and torch.cuda.is_available()

    def machine(self) -> dict[str, Any]:
        """Card and versions as `look_at` found them, or nothing."""
        path = self.work / _MACHINE
        if not path.exists():
            return {}
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts

    def look_at(self) -> dict[str, Any]:
        """Find card and versions, and keep them for other sections."""
        facts = {**_card(), **_versions()}
        (self.work / _MACHINE).write_text(json.dumps(facts), encoding="utf-8")
        return facts


def random_ids(engine: Engine, count: int, seed: int) -> list[int]:
    """Ids that the model and its tokenizer know."""
    return cast("list[int]", np.random.default_rng(seed).integers(3, engine.usable_vocab, count).tolist())


def fetched(logits: Any) -> Array:
    """A copy of logits, wherever they lie, which the next step leaves as it is."""
    return np.asarray(logits, np.float32).copy()


def equal(a: Array, b: Array) -> bool:
    """Whether two arrays are the same bit by bit."""
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def difference(a: Array, b: Array) -> float:
    """The largest between two arrays."""
    return float(np.abs(a - b).max())


def samples(count: int) -> list[dict[str, str]]:
    """Prompts and texts that the demo once gave."""
    raw = json.loads((ROOT / "artifacts/storyteller/samples.json").read_text(encoding="utf-8"))
    return cast("list[dict[str, str]]", raw["samples"][:count])


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many items two sequences begin with together."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _faked(engine: Engine, *, deterministic: bool) -> Engine:
    """The same model through the code for devices."""
    if not isinstance(engine.model, Model) or engine.bundle is None:
        raise TypeError("Only the model of a bundle has a session.")
    model = Model(
        engine.model.session,
        engine.model.facts,
        cache_bytes=engine.model.cache_bytes,
        place=Place("cpu"),
        deterministic=deterministic,
        where=engine.bundle.directory,
        cache_type=engine.bundle.manifest.kv_cache,
    )
    return replace(engine, model=model)


def _card() -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {"card": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        line = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
        name, driver, memory = (part.strip() for part in line.splitlines()[0].split(","))
        facts = {"card": name, "driver": driver, "memory": memory}
    return facts


def _versions() -> dict[str, Any]:
    import onnxruntime
    import torch

    facts = {
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpus": len(os.sched_getaffinity(0)),
    }
    with suppress(metadata.PackageNotFoundError):
        facts["transformers"] = metadata.version("transformers")
    return facts
