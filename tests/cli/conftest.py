"""The command line in this process, with a fake model behind it, or in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import loaded_llmb
import pytest
from loaded_llmb import LoadedPython
from typer.testing import CliRunner, Result

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, scripted
from llmbuilder_cli.main import app


@pytest.fixture
def answer() -> str:
    """What the fake model says to everything."""
    return "a fox, Łódź and 🦊."


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[dict[str, object]]:
    """Every model path leads to the fake model; returns the arguments with which models were opened."""
    calls: list[dict[str, object]] = []

    def open_fake(model: Path, tokenizer: Path | None = None, **options: object) -> TextGenerator:
        calls.append({"model": model, "tokenizer": tokenizer, **options})
        return TextGenerator.from_engine(fake_engine(scripted(answer)))

    monkeypatch.setattr("llmbuilder.inference.TextGenerator", open_fake)
    return calls


@pytest.fixture
def llmb(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``llmb ARGUMENTS`` in this process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the program sets its own
    monkeypatch.setattr("llmbuilder.signals.end_on", lambda *_: None)
    return lambda *arguments, stdin=None: CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


@pytest.fixture
def program(loaded_python: LoadedPython) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m llmbuilder_cli ARGUMENTS`` in a fork of a Python that has loaded it."""
    return partial(loaded_llmb.run, loaded_python.start)


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m llmbuilder_cli ARGUMENTS`` as a user would, from the start of a Python."""
    return partial(loaded_llmb.run, loaded_llmb.start_process)
