"""``llmb`` in processes of its own: started as users do, or forked from a Python that has loaded everything before.

Loading takes nearly all of the time of a short run. A fork opens its streams as Python does when it starts, runs the
same code and ends as programs do; ``tests/cli/test_loaded_llmb.py`` compares the two.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("llmbuilder", "llmbuilder_server", "llmbuilder_cli")
SLOW = (
    "glin_profanity", "numpy.ma", "onnxruntime", "prompt_toolkit", "regex", "rich.console", "rich.status",
    "rich.table", "sentencepiece", "tokenizers", "uvicorn",
)  # fmt: skip
"""What our packages load where it is used."""


@dataclass(frozen=True)
class Wanted:
    """A run of ``python -m llmbuilder_cli``, or of a script; standard input, output and error are at three paths."""

    arguments: list[str]
    streams: list[str]
    environment: dict[str, str]
    script: str | None = None


def start_process(wanted: Wanted) -> subprocess.Popen[bytes]:
    """Start it as users do."""
    what = ["-m", "llmbuilder_cli"] if wanted.script is None else ["-c", wanted.script]
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(Path(path).open(mode))
            for path, mode in zip(wanted.streams, ("rb", "wb", "wb"), strict=True)
        ]
        command = [sys.executable, *what, *wanted.arguments]
        return subprocess.Popen(command, 0, None, *streams, env=wanted.environment)


class LoadedPython:
    """A Python that has loaded everything, and ``more`` modules, and forks, one run at a time."""

    def __init__(self, *more: str) -> None:
        command = [sys.executable, __file__, *more]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._last: Fork | None = None

    def start(self, wanted: Wanted) -> "Fork":
        """Fork; a run that nobody has waited for, as of a test that failed, is over."""
        self._end_last()
        pid = self.ask({**asdict(wanted), "folder": str(Path.cwd())})
        self._last = Fork(self, pid)
        return self._last

    def ask(self, what: object) -> int:
        """Say something to that Python, which answers with a number."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._end_last()
        self._process.communicate()

    def _end_last(self) -> None:
        if self._last and self._last.returncode is None:
            self._last.kill()
            self._last.wait()


@dataclass
class Fork:
    """What `subprocess.Popen` is for a process."""

    _python: LoadedPython
    pid: int
    returncode: int | None = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._python.ask("wait")
        return self.returncode


def run(
    start: Callable[[Wanted], Any],
    *arguments: object,
    stdin: bytes | str = b"",
    stdout: str | None = None,
    stderr: str | None = None,
    encoding: str | None = None,
    environment: Mapping[str, str] | None = None,
    script: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it to its end: ``stdin`` is its input or the path of that, and what goes to no path is returned."""
    with tempfile.TemporaryDirectory() as folder:
        read, written, said = (Path(folder, name) for name in ("read", "written", "said"))
        read.write_bytes(stdin if isinstance(stdin, bytes) else b"")
        written.touch()
        said.touch()
        streams = [
            stdin if isinstance(stdin, str) else str(read), stdout or str(written), stderr or str(said)
        ]  # fmt: skip
        variables = os.environ | {"PYTHONIOENCODING": encoding or "utf-8"} | (environment or {})
        variables.pop("PYTHONUNBUFFERED", None)  # users have none, and then a failed write is tried again
        code = start(Wanted(list(map(os.fsdecode, arguments)), streams, variables, script)).wait()
        texts = (path.read_bytes().decode(encoding or "utf-8") for path in (written, said))
        return subprocess.CompletedProcess(arguments, code, *texts)


def load(*more: str) -> None:
    """Import our code without the exporter, what it imports, and ``more``, but make nothing of it."""
    for name in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in (*SLOW, *more):
        importlib.import_module(name)


def fork_for_each_request() -> dict[str, Any]:
    """Return, in a fork of this process, what each request wants; end where standard input ends."""
    while line := sys.stdin.readline():
        if (child := os.fork()) == 0:
            return json.loads(line)
        print(child, flush=True)
        sys.stdin.readline()  # until somebody waits for the child, its number stays its own
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def open_streams(paths: list[str], encoding: str) -> None:
    """Let standard input, output and error be what Python would make of those at ``paths``."""
    for number, (name, path) in enumerate(zip(("stdin", "stdout", "stderr"), paths, strict=True)):
        flags = os.O_WRONLY | os.O_TRUNC if number else os.O_RDONLY
        opened = os.open(path, flags | os.O_NOCTTY)
        os.dup2(opened, number)
        os.close(opened)
        stream = open(  # noqa: SIM115
            number,
            "w" if number else "r",
            buffering=1 if name == "stderr" else -1,
            encoding=encoding,
            errors="backslashreplace" if name == "stderr" else "strict",
            newline="\n",
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    load(*sys.argv[1:])
    gc.freeze()  # else every fork goes through it all when it ends
    wanted = fork_for_each_request()
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    open_streams(wanted["streams"], wanted["environment"].get("PYTHONIOENCODING", "utf-8"))
    sys.argv = ["-c", *wanted["arguments"]]
    sys.path[0] = wanted["folder"]
    if wanted["script"] is None:
        runpy.run_module("llmbuilder_cli", run_name="__main__", alter_sys=True)
    else:
        exec(wanted["script"], {"__name__": "__main__"})  # noqa: S102
