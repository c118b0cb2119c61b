"""Ours: bundles of every form that this tree's exporter knows, through `TextGenerator` as users have it."""

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from peers.environments import call, say
from peers.places import MODELS, ROOT
from peers.protocol import THREADS, Engine, LeftOutError, Room, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMS: Mapping[str, Sequence[str]] = {
    "ours-none": ("--quantize", "none"),
    "ours-int8": ("--quantize", "int8"),
    "ours-w8a8": ("--quantize", "w8a8"),
    "ours-int4": ("--quantize", "int4"),
    "ours-int8-kv8": ("--quantize", "int8", "--kv-cache", "int8"),
}
CONFIGURATIONS = tuple(FORMS)
REFERENCE = "ours-none"
"""Its logits are the float32 ones that all are compared with."""


def install() -> Path:
    """The torch-free environment, which `make bench-peers` makes."""
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        raise LeftOutError(f"There is no {python}; `make bench-peers` makes it.")
    return python


def prepare(configuration: str, source: Path) -> Path:
    """Export, once for each state of the exporter."""
    bundle = MODELS / "ours" / _exporter() / configuration
    if not bundle.is_dir():
        say(f"exporting {configuration}")
        program = "from llmbuilder_cli.main import main; main()"
        form = [*FORMS[configuration], "--output", str(bundle), "--no-verify"]
        call([sys.executable, "-c", program, "export", str(source), *form])
    return bundle


def files(model: Path) -> Sequence[Path]:
    """Graph and weights."""
    return sorted(model.glob("model.onnx*"))


def variables() -> Mapping[str, str]:
    """None: users set none."""
    return {}


def open_engine(room: Room) -> Engine:
    """As users have it, or the model alone where no text will be given."""
    return Generator(room) if room.tokenizer else Alone(room)


def version() -> str:
    """Ours is this tree's: the commit stands with the results."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


class Generator:
    """`TextGenerator`; all prompts are computed before the first step, so that the two can be told apart."""

    def __init__(self, room: Room) -> None:
        """Load the bundle."""
        from llmbuilder.generator import TextGenerator

        self._generator = TextGenerator(room.model, threads=THREADS, device="cpu")

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """What `complete_batch` does, text included."""
        from llmbuilder.decoding.rows import LEAST_CHUNK
        from llmbuilder.decoding.running import finish_all, open_loop

        begin = time.perf_counter()
        groups = [
            self._generator.group(ids, do_sample=False, early_stopping=False, max_new_tokens=new)
            for ids in prompts
        ]
        loop = open_loop(self._generator.engine.model.decoder, groups, len(groups))
        loop.chunk = sum(map(len, prompts)) + LEAST_CHUNK
        loop.advance()
        first = time.perf_counter()
        finish_all(loop, groups)
        return Run(first - begin, time.perf_counter() - first)

    def first_text(self, text: str) -> str:
        """The first piece of a stream."""
        return self._generator.generate(text, do_sample=False, max_new_tokens=1)

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Of every position."""
        return self._generator.engine.model.decoder(capacity=len(ids)).prefill(0, ids, keep=len(ids))


class Alone:
    """The model without its tokenizer, driven by the shortest loop that there can be."""

    def __init__(self, room: Room) -> None:
        """Verify and load the bundle."""
        from llmbuilder.bundle.opening import open_bundle
        from llmbuilder.engine.model import Model

        bundle = open_bundle(room.model)
        self._model = Model.open(
            room.model, bundle.manifest, device="cpu", threads=THREADS, content=bundle.graph_content
        )

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """Prompts one after the other, then steps of all rows."""
        begin = time.perf_counter()
        decoder = self._model.decoder(rows=len(prompts), capacity=len(prompts[0]) + new)
        tokens = [int(decoder.prefill(row, ids)[-1].argmax()) for row, ids in enumerate(prompts)]
        first = time.perf_counter()
        for _ in range(new - 1):
            tokens = cast("npt.NDArray[np.float32]", decoder.step(tokens)).argmax(-1).tolist()
        return Run(first - begin, time.perf_counter() - first)

    def first_text(self, text: str) -> str:
        """It knows no text."""
        raise TypeError(f"A model alone cannot continue {text!r}.")

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Of every position."""
        return self._model.decoder(capacity=len(ids)).prefill(0, ids, keep=len(ids))


@cache
def _exporter() -> str:
    """What the exporter's sources are, in a few letters."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "export").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
