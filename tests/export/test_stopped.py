"""Exports stopped by a signal: the status says so, and nothing half-made is left."""

import json
import signal
import subprocess
import sys

import pytest

STOPPED = """
import os, shutil, signal, sys
from unittest.mock import MagicMock
from llmbuilder_export import pipeline

def get(names):
    for name in names:
        os.kill(os.getpid(), getattr(signal, name))

def write_files(folder, *_):
    (folder / "model.onnx").write_bytes(b"half")
    shutil.rmtree = rmtree
    get(signals[:1])
    raise pipeline.ExportError("not stopped")

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


LOADED = """
import json, os, sys
import llmbuilder_cli.main, llmbuilder_export.pipeline

for line in sys.stdin:
    wanted = json.loads(line)
    if (child := os.fork()) == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for stream, path in (1, os.devnull), (2, wanted["stderr"]):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
sys.argv = ["-c", *wanted["arguments"]]
exec(wanted["script"])
"""
"""A Python that has loaded torch once, and becomes the program of every request, in a process of its own."""


@pytest.fixture(scope="module")
def loaded():
    with subprocess.Popen(
        [sys.executable, "-c", LOADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run_stopped(loaded, checkpoint, tmp_path, tmp_path_factory):
    """Run a program that gets a signal while the bundle is being written, and others while it cleans up."""
    stderr = tmp_path_factory.mktemp("output") / "stderr"

    def run(main, *signals, before=NOT_IGNORED):
        script = f"signals = {signals}\n{STOPPED}\n{before}\n{main}"
        arguments = [str(checkpoint), "-o", str(tmp_path / "bundle"), "--quantize", "none"]
        wanted = {"script": script, "arguments": arguments, "stderr": str(stderr)}
        loaded.stdin.write(json.dumps(wanted) + "\n")
        loaded.stdin.flush()
        return int(loaded.stdout.readline()), stderr.read_text(encoding="utf-8")

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
    code, stderr = run_stopped(main, *signals)
    assert code == 128 + getattr(signal, signals[0])
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("main", [PROGRAM, LLMB])
def test_a_program_started_to_outlive_its_terminal_does(run_stopped, main):
    code, stderr = run_stopped(main, "SIGHUP", before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert code == 1
    assert "not stopped" in stderr
