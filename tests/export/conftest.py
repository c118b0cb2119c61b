"""A small LLMBuilder checkpoint and its bundle, made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loaded_program import LoadedProgram, load_program
from small_models import gpt_state, model_config
from traced_once import traced_once

from llmbuilder_export import ExportReport, export_model

__all__ = ["traced_once"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, sentencepiece_file) -> Path:
    """A checkpoint as ``save_model`` of LLMBuilder 2.0.0 writes it, its tokenizer beside it."""
    directory = tmp_path_factory.mktemp("model")
    shutil.copy(sentencepiece_file, directory / "tokenizer.model")
    path = directory / "model.pt"
    torch.save({"model_state_dict": gpt_state(), "model_config": model_config(), "model_type": "gpt"}, path)
    return path


@pytest.fixture(scope="session")
def report(checkpoint, tmp_path_factory) -> ExportReport:
    """The checkpoint exported without quantization."""
    output = tmp_path_factory.mktemp("bundles") / "fp32"
    return export_model(checkpoint, output=output, quantization="none", progress=lambda _: None)


@pytest.fixture(scope="session")
def loaded(tmp_path_factory) -> Iterator[LoadedProgram]:
    """Runs programs that need torch, each in a process of its own that need not load it."""
    with load_program(tmp_path_factory.mktemp("loaded")) as program:
        yield program


@pytest.fixture
def saved(tmp_path):
    """Save what a checkpoint holds, and return its path."""

    def save(content):
        path = tmp_path / "model.pt"
        torch.save(content, path)
        return path

    return save
