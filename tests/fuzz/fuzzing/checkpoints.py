"""Checkpoints of LLMBuilder and weights as safetensors, with bytes changed inside and outside of their headers."""

import io
import zipfile
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save
from small_models import gpt_state, model_config

from fuzzing.changes import changed_bytes, changed_safetensors
from llmbuilder_export.sources.llmbuilder import load_llmbuilder
from llmbuilder_export.sources.weights import stored_in

_SMALL = {"vocabulary": 20, "width": 8, "window": 8}


class Checkpoints:
    """Changed files, read as at export."""

    def __init__(self, folder: Path) -> None:
        """Store a small model in ``folder``."""
        self._folder = folder
        state = gpt_state(**_SMALL)
        config = model_config(vocab_size=20, embedding_dim=8, max_seq_length=8)
        stored = io.BytesIO()
        torch.save({"model_state_dict": state, "model_config": config}, stored)
        old = io.BytesIO()
        torch.save({"model": state, "config": config}, old, _use_new_zipfile_serialization=False)
        self._archive, self._old = stored.getvalue(), old.getvalue()
        self._safe = save({name: value.contiguous().clone() for name, value in state.items()})

    def make(self, random: Random) -> tuple[str, bytes]:
        """A file's name and its bytes."""
        kind = random.randrange(4)
        if kind == 0:
            return "model.safetensors", changed_safetensors(self._safe, random)
        if kind == 1:
            return "model.pt", changed_bytes(self._old, random)
        return "model.pt", self._with_other_pickle(random) if kind == 2 else changed_bytes(
            self._archive, random
        )

    def _with_other_pickle(self, random: Random) -> bytes:
        """The archive with its pickle changed, and sums of it that fit."""
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(self._archive)) as old, zipfile.ZipFile(out, "w") as new:
            for entry in old.infolist():
                content = old.read(entry)
                if entry.filename.endswith("data.pkl"):
                    content = changed_bytes(content, random)
                new.writestr(entry, content)
        return out.getvalue()

    def run(self, made: tuple[str, bytes]) -> None:
        """Read it as an export does."""
        name, content = made
        path = self._folder / name
        path.write_bytes(content)
        if name.endswith(".pt"):
            load_llmbuilder(path)
        else:
            list(stored_in(path))
