"""How soon each command shows something on a terminal: its help, an error, or what it is about to do.

    python benchmarks/first_sign.py [--rounds N]

From the start of the process to its first byte, as a multiple of all of ``python -c pass``. ``empty`` is a program of
two commands that do nothing, as typer makes it: what there is without us.
"""

import argparse
import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

from common import RESULTS, ratio, report, take_turns

EMPTY = """
import typer
app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
@app.command()
def one(number: int = 1): print(number)
@app.command()
def two(number: int = 1): print(number)
app()
"""
MODEL = str(RESULTS.parent.parent / "artifacts" / "storyteller" / "bundle")
COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "help of a command": ["generate", MODEL, "--help"],
    "wrong option": ["generate", MODEL, "--colour"],
    "wrong value": ["generate", MODEL, "--seed", "hot"],
    "generate": ["generate", MODEL, "-p", "x"],
    "generate, options": ["generate", MODEL, "-p", "x", "--temperature", "0", "--max-tokens", "1"],
    "batch": ["generate", "batch", MODEL, "in.jsonl", "out.jsonl"],
    "chat": ["chat", MODEL],
    "verify": ["verify", MODEL],
    "bench": ["bench", MODEL],
    "compare": ["compare", MODEL, "-p", "x", "--config", "seed=1", "--samples", "1"],
    "evaluate": ["evaluate", "text.txt", "-m", MODEL],
    "export of nothing": ["export", "nowhere.pt"],
    "export": ["export", "model.pt"],
    "info": ["info", MODEL],
    "config": ["config"],
    "doctor": ["doctor"],
    "serve": ["serve", MODEL, "--port", "0"],
}


def seconds_to_end(command: Sequence[str]) -> float:
    """How long a program takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def seconds_to_first_byte(command: Sequence[str], folder: Path) -> float:
    """How long a program takes until something is on its terminal; then it is ended."""
    terminal, inside = pty.openpty()
    start = time.perf_counter()
    program = subprocess.Popen(command, cwd=folder, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    os.read(terminal, 1)
    seconds = time.perf_counter() - start
    program.kill()
    program.wait()
    os.close(terminal)
    return seconds


def main() -> None:
    """Measure all commands in turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each command")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    llmb = [sys.executable, str(Path(sys.executable).with_name("llmb"))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text("A text.")
        (folder / "model.pt").write_bytes(b"no checkpoint")
        (folder / "in.jsonl").write_text('{"prompt": "x"}\n')
        programs = {name: [*llmb, *words] for name, words in COMMANDS.items()}
        programs["empty, help"] = [sys.executable, "-c", EMPTY, "--help"]
        programs["empty, a command"] = [sys.executable, "-c", EMPTY, "one"]
        contestants = {
            name: partial(seconds_to_first_byte, command, folder) for name, command in programs.items()
        }
        nothing = partial(seconds_to_end, [sys.executable, "-c", "pass"])
        measured = take_turns({"nothing": nothing, **contestants}, options.rounds)
    base = measured.pop("nothing")
    rows = [
        {"command": name, "milliseconds": 1000 * median(values), "times python -c pass": ratio(values, base)}
        for name, values in measured.items()
    ]
    rows.append(
        {"command": "python -c pass", "milliseconds": 1000 * median(base), "times python -c pass": 1.0}
    )
    report("first_sign", rows, options.results)


if __name__ == "__main__":
    main()
