"""Exports stopped by a signal: the status says so, and nothing half-made is left."""

import signal

import pytest

STOPPED = """
import os, shutil, signal, sys
from unittest.mock import MagicMock
from llmbuilder.errors import ExportError
from llmbuilder_export import pipeline

def get(names):
    for name in names:
        os.kill(os.getpid(), getattr(signal, name))

def write_files(folder, *_):
    (folder / "model.onnx").write_bytes(b"half")
    shutil.rmtree = rmtree
    get(signals[:1])
    raise ExportError("not stopped")

def rmtree(*arguments, remove=shutil.rmtree, **options):
    get(signals[1:])
    remove(*arguments, **options)

pipeline.write_files = write_files
pipeline._trace = lambda *_, **__: MagicMock()
"""
PROGRAM = "from llmbuilder_export.__main__ import main; sys.exit(main())"
LLMB = "from llmbuilder_cli.main import main; sys.argv.insert(1, 'export'); main()"


NOT_IGNORED = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
"""Whatever these tests themselves were started with."""
SEVERAL = [("SIGHUP", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGINT", "SIGINT")]


@pytest.fixture
def run_stopped(run_script, checkpoint, tmp_path):
    """Run a program that gets a signal while the bundle is being written, and others while it cleans up."""

    def run(main, *signals, before=NOT_IGNORED):
        script = f"signals = {signals}\n{STOPPED}\n{before}\n{main}"
        return run_script(script, checkpoint, "-o", tmp_path / "bundle", "--quantize", "none")

    return run


@pytest.mark.parametrize(
    ("main", "signals"),
    [
        *((PROGRAM, [name]) for name in ("SIGTERM", "SIGHUP", "SIGINT")),
        *((LLMB, [name]) for name in ("SIGTERM", "SIGHUP", "SIGINT")),
        # Ctrl-C and the end of a terminal reach the runtime too, which then stops its exporter.
        *((main, [name, other]) for main in (PROGRAM, LLMB) for name, other in SEVERAL),
    ],
)
def test_a_program_stopped_from_outside_cleans_up(run_stopped, tmp_path, main, signals):
    done = run_stopped(main, *signals)
    assert done.returncode == 128 + getattr(signal, signals[0])
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("main", [PROGRAM, LLMB])
def test_a_program_started_to_outlive_its_terminal_does(run_stopped, main):
    done = run_stopped(main, "SIGHUP", before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert done.returncode == 1
    assert "not stopped" in done.stderr
