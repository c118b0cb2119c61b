"""The command line in this process, with a fake model behind it, or in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
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
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m llmbuilder_cli ARGUMENTS`` as a user would, with what is ``installed`` in a folder besides."""

    def run(
        *arguments: object, stdin: int = subprocess.DEVNULL, installed: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmbuilder_cli", *map(os.fsdecode, arguments)]
        path = os.pathsep.join([*([str(installed)] if installed else []), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(
            command, stdin=stdin, capture_output=True, text=True, timeout=300, check=False, env=environment
        )

    return run
