"""A small LLMBuilder checkpoint and its bundle, made once."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import loaded_llmb
import pytest
import torch
from loaded_llmb import LoadedPython
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
def run_script() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run ``python -c SCRIPT ARGUMENTS`` in a fork of a Python that has loaded the exporter, and with it torch."""
    with contextlib.closing(LoadedPython("llmbuilder_export.pipeline")) as python:
        yield lambda script, *arguments: loaded_llmb.run(python.start, *arguments, script=script)


@pytest.fixture
def saved(tmp_path):
    """Save what a checkpoint holds, and return its path."""

    def save(content):
        path = tmp_path / "model.pt"
        torch.save(content, path)
        return path

    return save
