"""onnxruntime-genai: its model builder's files, its own generation loop."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.environments import call, environment, say
from peers.places import HOME, MODELS
from peers.protocol import THREADS, Engine, Room, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMS: Mapping[str, Sequence[str]] = {
    "genai-fp32": ("fp32",),
    "genai-int8": ("int8", "accuracy_level=4", "block_size=32"),
    "genai-int4-kmix": ("int4", "accuracy_level=4", "block_size=32", "algo_config=k_quant_mixed"),
    "genai-int4-b128": ("int4", "accuracy_level=4", "block_size=128"),
}
"""Precision, then options of the builder. ``k_quant_mixed`` with blocks of 128 does not build: 576 is no multiple."""
CONFIGURATIONS = tuple(FORMS)


def install() -> Path:
    """From PyPI; transformers and torch, for the builder, are this project's."""
    return environment(
        "genai", "onnxruntime-genai==0.18.0", "onnxruntime==1.32.0", "onnx", "onnx-ir", beside=".venv-dev"
    )


def prepare(configuration: str, source: Path) -> Path:
    """Build the model, and give it our number of threads."""
    model = MODELS / "genai" / configuration
    if not (model / "done").exists():
        say(f"building {configuration}")
        precision, *options = FORMS[configuration]
        builder = [
            str(install()),
            "-m",
            "onnxruntime_genai.models.builder",
            "-i",
            str(source),
            "-o",
            str(model),
        ]
        extra = ["--extra_options", *options] if options else []
        call([*builder, "-p", precision, "-e", "cpu", "-c", str(HOME / "builder"), *extra])
        _give_threads(model / "genai_config.json")
        (model / "done").touch()
    return model


def files(model: Path) -> Sequence[Path]:
    """Graph and weights."""
    return sorted(model.glob("model.onnx*"))


def variables() -> Mapping[str, str]:
    """None."""
    return {}


def open_engine(room: Room) -> Engine:
    """Load the model, and its tokenizer if asked."""
    return GenAI(room)


def version() -> str:
    """Of the package."""
    import onnxruntime_genai as og

    return f"onnxruntime-genai {og.__version__}"


class GenAI:
    """A model with one `Generator` for each run."""

    def __init__(self, room: Room) -> None:
        """Load."""
        import onnxruntime_genai as og

        self._og = og
        self._room = room
        self._model = og.Model(str(room.model))
        self._tokenizer: Any = og.Tokenizer(self._model) if room.tokenizer else None

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """The least length keeps rows going past end tokens."""
        import numpy as np

        length = len(prompts[0]) + new
        generator = self._open(len(prompts), length)
        begin = time.perf_counter()
        generator.append_tokens(np.array(prompts, np.int32))
        generator.generate_next_token()
        first = time.perf_counter()
        for _ in range(new - 1):
            generator.generate_next_token()
        return Run(first - begin, time.perf_counter() - first)

    def first_text(self, text: str) -> str:
        """Encode, generate one token, decode it."""
        ids = self._tokenizer.encode(text)
        generator = self._open(1, len(ids) + 1)
        generator.append_tokens(ids)
        generator.generate_next_token()
        found: str = self._tokenizer.decode(generator.get_next_tokens())
        return found

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """What the graph gives for the prompt."""
        import numpy as np

        generator = self._open(1, len(ids) + 1)
        generator.append_tokens(np.array([ids], np.int32))
        found: npt.NDArray[np.float32] = np.asarray(generator.get_output("logits"), np.float32)[0]
        return found

    def _open(self, rows: int, length: int) -> Any:
        parameters = self._og.GeneratorParams(self._model)
        parameters.set_search_options(do_sample=False, batch_size=rows, max_length=length, min_length=length)
        return self._og.Generator(self._model, parameters)


def _give_threads(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    options = config["model"]["decoder"].setdefault("session_options", {})
    options["intra_op_num_threads"] = THREADS
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
