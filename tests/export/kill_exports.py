"""Kill exports while they write, again and again, and look at what is left.

    python tests/export/kill_exports.py --results=FILE [--kills 1000] [--whole 30]

Three ways: at every single step on the file system of an export's writing part (`sys.addaudithook` tells of them), at
random moments of it, and at random moments of whole exports, each in a process of its own. After each kill the output
must be a whole bundle or not there. After the next export's first look at it nothing else may be left, and a bundle
that was there before must be there again. Ends with 0 if it found nothing wrong.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from llmbuilder.bundle.manifest import Manifest
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.errors import LLMBuilderError
from llmbuilder_export.staging import refuse_unusable, staged
from llmbuilder_export.write import write_manifest

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
STEPS = ("open", "os.", "shutil.", "tempfile.")


def write_bundle(output: Path, manifest: Manifest) -> None:
    """The writing part of an export: copies of the demo model's files stand for those that ONNX is saved to."""
    refuse_unusable(output, overwrite=True)
    with staged(output, overwrite=True) as folder:
        for name in manifest.files:
            shutil.copyfile(DEMO / name, folder / name)
        write_manifest(folder, manifest)


def in_child(work: Callable[[], None]) -> int:
    """Start ``work`` in a process of its own and return its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


def die_at(step: int) -> None:
    """Have this process killed before its step number ``step`` on the file system."""
    count = 0

    def step_done(event: str, _: object) -> None:
        nonlocal count
        if event.startswith(STEPS):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step_done)


class Kills:
    """Kills so far, what was wrong after them, and the most that one of them left behind."""

    def __init__(self, folder: Path) -> None:
        """Export into ``folder``, which has nothing else in it."""
        self.output = folder / "bundle"
        self.manifest = open_bundle(DEMO).manifest
        self.kills = self.left_bytes = self.put_back = 0
        self.wrong: list[str] = []

    def write(self) -> None:
        """Make the bundle, or replace it."""
        write_bundle(self.output, self.manifest)

    def examine(self, *, replaced: bool) -> None:
        """Look at what a killed export has left, before and after the next one's first look."""
        self.kills += 1
        left = [path for path in self.output.parent.iterdir() if path != self.output]
        size = sum(file.stat().st_size for path in left for file in path.rglob("*") if file.is_file())
        self.left_bytes = max(self.left_bytes, size)
        was_there = self.output.exists()
        refuse_unusable(self.output, overwrite=True)
        names = {path.name for path in self.output.parent.iterdir()}
        if names - {"bundle"}:
            self.wrong.append(f"left over: {sorted(names)}")
        if replaced and not names:
            self.wrong.append("the old bundle is gone")
        if names:
            self.put_back += not was_there
            try:
                open_bundle(self.output, rehash=True)
            except LLMBuilderError as error:
                self.wrong.append(f"not whole: {error}")

    def every_step(self, *, replaced: bool) -> int:
        """Kill one export at each of its steps in turn; return how many there were."""
        step = 1
        while True:
            self._start_from(replaced=replaced)
            child = in_child(lambda: self._write_until(step))  # noqa: B023 (it runs at once)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
                return step - 1
            self.examine(replaced=replaced)
            step += 1

    def random_moments(self, wanted: int, moments: random.Random) -> None:
        """Kill exports that replace a bundle, until so many were killed in the middle."""
        self._start_from(replaced=True)
        started = time.monotonic()
        self.write()
        seconds = time.monotonic() - started
        before = self.kills
        while self.kills < before + wanted:
            child = in_child(self.write)
            time.sleep(moments.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL:
                self.examine(replaced=True)

    def whole_exports(self, wanted: int, moments: random.Random, source: Path) -> None:
        """Kill whole exports of ``source``, each the next one's predecessor, at moments over all of their time."""
        self._start_from(replaced=True)
        command = [
            sys.executable,
            "-m",
            "llmbuilder_export",
            str(source),
            "-o",
            str(self.output),
            "--overwrite",
        ]
        started = time.monotonic()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        before = self.kills
        while self.kills < before + wanted:
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
                time.sleep(moments.uniform(0, seconds))
                run.kill()
            if run.returncode == -signal.SIGKILL:
                self.examine(replaced=True)

    def _write_until(self, step: int) -> None:
        die_at(step)
        self.write()

    def _start_from(self, *, replaced: bool) -> None:
        shutil.rmtree(self.output, ignore_errors=True)
        if replaced:
            self.write()


def main() -> int:
    """Kill as the command line says."""
    parser = argparse.ArgumentParser(description="Kill exports and look at what is left.")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=1000, help="at random moments of the writing part")
    parser.add_argument("--whole", type=int, default=30, help="of whole exports")
    parser.add_argument("--source", type=Path, default=DEMO.parent / "model.pt", help="what these export")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder))
        steps = [kills.every_step(replaced=replaced) for replaced in (False, True)]
        kills.random_moments(options.kills, moments)
        if options.whole:
            kills.whole_exports(options.whole, moments, options.source)
    measured = {
        "kills": kills.kills,
        "steps_of_a_new_and_a_replaced_bundle": steps,
        "at_random_moments": options.kills,
        "of_whole_exports": options.whole,
        "old_bundles_put_back": kills.put_back,
        "most_bytes_left_by_a_kill": kills.left_bytes,
        "wrong": kills.wrong,
    }
    options.results.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    return bool(kills.wrong)


if __name__ == "__main__":
    sys.exit(main())
