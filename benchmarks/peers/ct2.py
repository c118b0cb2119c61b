"""CTranslate2: eight-bit weights, one scale an output."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.environments import call, environment, say
from peers.places import MODELS
from peers.protocol import THREADS, Engine, Room, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIGURATIONS = ("ct2-int8",)


def install() -> Path:
    """From PyPI; transformers and torch, for its converter, are this project's."""
    return environment("ct2", "ctranslate2==4.8.5", "setuptools<81", beside=".venv-dev")


def prepare(configuration: str, source: Path) -> Path:
    """Convert; its tokenizer is that of the source, which it does not load itself."""
    model = MODELS / "ct2" / configuration
    if not (model / "tokenizer.json").exists():
        say(f"converting {configuration}")
        program = [str(install()), "-m", "ctranslate2.converters.transformers"]
        call(
            [
                *program,
                "--model",
                str(source),
                "--output_dir",
                str(model),
                "--quantization",
                "int8",
                "--force",
            ]
        )
        (model / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    return model


def files(model: Path) -> Sequence[Path]:
    """Weights; the graph is in the library."""
    return [model / "model.bin"]


def variables() -> Mapping[str, str]:
    """None."""
    return {}


def open_engine(room: Room) -> Engine:
    """Load the model, and the tokenizer if asked."""
    return CTranslate2(room)


def version() -> str:
    """Of the package."""
    import ctranslate2

    return f"ctranslate2 {ctranslate2.__version__}"


class CTranslate2:
    """A generator; tokens go in and come out as strings."""

    def __init__(self, room: Room) -> None:
        """Load."""
        import ctranslate2

        self._library: Any = ctranslate2
        self._generator = ctranslate2.Generator(
            str(room.model), device="cpu", compute_type="int8", inter_threads=1, intra_threads=THREADS
        )
        content = (room.model / "vocabulary.json").read_text(encoding="utf-8")
        self._names: list[str] = json.loads(content)
        self._tokenizer: Any = _tokenizer(room.model) if room.tokenizer else None

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """The callback tells when each row's tokens are there; the least length goes past end tokens."""
        times: list[float] = []

        def note(_: Any) -> bool:
            times.append(time.perf_counter())
            return False

        names = [[self._names[token] for token in ids] for ids in prompts]
        begin = time.perf_counter()
        self._generator.generate_batch(
            names,
            max_length=new,
            min_length=new,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=note,
        )
        first = times[len(prompts) - 1]
        return Run(first - begin, time.perf_counter() - first)

    def first_text(self, text: str) -> str:
        """Encode, one token, decode."""
        names = self._tokenizer.encode(text).tokens
        (result,) = self._generator.generate_batch(
            [names], max_length=1, sampling_topk=1, include_prompt_in_result=False
        )
        found: str = self._tokenizer.decode(result.sequences_ids[0])
        return found

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Of every position."""
        import numpy as np

        view = self._generator.forward_batch([list(ids)], return_log_probs=False)
        found: npt.NDArray[np.float32] = np.asarray(view, np.float32)[0]
        return found


def _tokenizer(model: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(model / "tokenizer.json"))
