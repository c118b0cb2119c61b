"""``llmb exporter``, and exports that run in its environment."""

import sys

import pytest

from llmbuilder.bundle import exporter as exporting
from llmbuilder.errors import ExportError

PLACE = "https://download.pytorch.org/whl/cpu"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def runs(monkeypatch):
    """What is run, instead of running it; ``fails`` is what fails of it. Making an environment puts a Python there."""

    def run(command, stdout=None):
        run.commands.append(command)
        if "venv" in command:
            python = exporting.python_of(exporting.exporter_environment())
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return int(run.fails in command)

    run.commands, run.fails = [], None
    monkeypatch.setattr(exporting, "run", run)
    monkeypatch.setattr(exporting, "can_export", lambda: False)
    monkeypatch.setattr(
        "llmbuilder.distribution.requirement", lambda *extras: f"it[{','.join(extras)}] @ file:///it"
    )
    return run


def test_it_is_installed_from_where_this_came_with_torch_for_cpus_first(llmb, runs):
    result = llmb("exporter", "install")
    environment = exporting.exporter_environment()
    python = str(exporting.python_of(environment))
    assert result.exit_code == 0
    assert result.stdout == f"{environment}\n"
    venv, torch, ours = runs.commands
    assert venv == [sys.executable, "-m", "venv", "--clear", str(environment)]
    assert torch[:5] == [python, "-I", "-m", "pip", "install"]
    assert torch[-3:-1] == ["--extra-index-url", PLACE]
    assert torch[-1].startswith("torch>=")
    assert ours == [python, "-I", "-m", "pip", "install", "it[cpu,export] @ file:///it"]
    assert exporting.exporter() == [python, "-I"]


def test_it_may_be_installed_from_a_wheel(llmb, runs, tmp_path):
    wheel = tmp_path / "it.whl"
    wheel.touch()
    assert llmb("exporter", "install", "--from", wheel).exit_code == 0
    assert runs.commands[-1][-1] == f"{wheel}[cpu,export]"


@pytest.mark.parametrize("step", ["venv", "--no-deps", "it[cpu,export] @ file:///it"])
def test_what_was_installed_in_part_is_not_used(llmb, runs, step):
    runs.fails = step
    result = llmb("exporter", "install")
    assert isinstance(result.exception, ExportError)
    assert "failed, see above. Repair that, then: llmb exporter install" in str(result.exception)
    assert exporting.exporter() is None


def test_a_source_that_has_gone_is_asked_for(llmb, runs, monkeypatch):
    monkeypatch.setattr("llmbuilder.distribution.requirement", lambda *extras: None)
    result = llmb("exporter", "install")
    assert "llmb exporter install --from FILE" in str(result.exception)
    assert runs.commands == []


def test_a_source_that_is_not_there_is_told(llmb, runs, tmp_path):
    assert "nothing at" in str(llmb("exporter", "install", "--from", tmp_path / "gone.whl").exception)
    assert runs.commands == []


def test_it_can_be_removed(llmb, runs):
    llmb("exporter", "install")
    assert llmb("exporter", "remove").exit_code == 0
    assert not exporting.exporter_environment().exists()
    assert "There is no exporter at" in llmb("exporter", "remove").stderr


@pytest.mark.parametrize("code", [0, 1])
def test_an_export_runs_there_as_it_was_typed(llmb, monkeypatch, tmp_path, code):
    (tmp_path / "model.pt").touch()
    monkeypatch.setattr(exporting, "can_export", lambda: False)
    monkeypatch.setattr(exporting, "exporter", lambda: ["there", "-I"])
    ran = []
    monkeypatch.setattr(exporting, "run", lambda command: ran.append(command) or code)
    monkeypatch.setattr(sys, "argv", ["llmb", "--debug", "export", "model.pt"])
    assert llmb("export", tmp_path / "model.pt").exit_code == code
    assert ran == [["there", "-I", "-m", "llmbuilder_cli", "--debug", "export", "model.pt"]]
