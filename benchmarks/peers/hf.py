"""transformers: the Hugging Face directory as it is, in float32."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.places import ROOT
from peers.protocol import THREADS, Engine, LeftOutError, Room, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIGURATIONS = ("transformers-fp32",)


def install() -> Path:
    """The oracle's environment, which `make bench-peers` makes."""
    python = ROOT / ".venv-oracle" / "bin" / "python"
    if not python.exists():
        raise LeftOutError(f"There is no {python}; `make bench-peers` makes it.")
    return python


def prepare(configuration: str, source: Path) -> Path:  # noqa: ARG001 (there is one)
    """Nothing: it reads the source."""
    return source


def files(model: Path) -> Sequence[Path]:
    """Weights; the graph is in the library."""
    return sorted(model.glob("*.safetensors"))


def variables() -> Mapping[str, str]:
    """No look at the network."""
    return {"HF_HUB_OFFLINE": "1"}


def open_engine(room: Room) -> Engine:
    """Load the model, and the tokenizer if asked."""
    return Transformers(room)


def version() -> str:
    """Of the package and torch."""
    import torch
    import transformers

    return f"transformers {transformers.__version__}, torch {torch.__version__}"


class Transformers:
    """A model with its own cache, driven by the shortest greedy loop: faster than its ``generate``."""

    def __init__(self, room: Room) -> None:
        """Load."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

        torch.set_num_threads(THREADS)
        self._torch: Any = torch
        self._cache: Any = DynamicCache
        self._model: Any = AutoModelForCausalLM.from_pretrained(room.model, torch_dtype=torch.float32)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(room.model) if room.tokenizer else None

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """All prompts at once, then steps of all rows."""
        with self._torch.inference_mode():
            begin = time.perf_counter()
            tokens, cache = self._forward(self._torch.tensor(prompts), self._cache())
            first = time.perf_counter()
            for _ in range(new - 1):
                tokens, cache = self._forward(tokens, cache)
            return Run(first - begin, time.perf_counter() - first)

    def first_text(self, text: str) -> str:
        """Encode, one token, decode."""
        with self._torch.inference_mode():
            tokens, _ = self._forward(self._tokenizer(text, return_tensors="pt").input_ids, self._cache())
        found: str = self._tokenizer.decode(tokens[0])
        return found

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Of every position."""
        with self._torch.inference_mode():
            found: npt.NDArray[np.float32] = self._model(self._torch.tensor([ids])).logits[0].numpy()
        return found

    def _forward(self, ids: Any, cache: Any) -> tuple[Any, Any]:
        out = self._model(ids, past_key_values=cache, use_cache=True, num_logits_to_keep=1)
        return out.logits[:, -1:].argmax(-1), out.past_key_values
