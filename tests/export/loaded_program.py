"""Programs that need torch, at the price of loading it once: each runs in a process forked from one that has it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LOADED = """
import gc, json, os, sys
import llmbuilder_cli.main, llmbuilder_export.pipeline

gc.freeze()  # else every program goes through it all when it ends
for line in sys.stdin:
    wanted = json.loads(line)
    if (child := os.fork()) == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for stream, path in enumerate(wanted["outputs"], start=1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
sys.argv = ["-c", *wanted["arguments"]]
exec(wanted["script"])
"""


@dataclass(frozen=True)
class Done:
    """How a program ended, as `subprocess.CompletedProcess` says it."""

    returncode: int
    stdout: str
    stderr: str


class LoadedProgram:
    """A Python that has loaded torch, and becomes the program of every request, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        """Have ``process`` run the programs; what they print goes through ``folder``."""
        self._process = process
        self._outputs = [folder / "stdout", folder / "stderr"]

    def run(self, script: str, *arguments: object) -> Done:
        """Run ``python -c script arguments`` to its end."""
        wanted = {"script": script, "arguments": arguments, "outputs": self._outputs}
        print(json.dumps(wanted, default=str), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        return Done(code, *(path.read_text(encoding="utf-8") for path in self._outputs))


@contextmanager
def load_program(folder: Path) -> Iterator[LoadedProgram]:
    """Start the process that loads torch, and end it."""
    command = [sys.executable, "-c", _LOADED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield LoadedProgram(process, folder)
        process.stdin.close()
