"""Do in a scratch folder what the Dockerfile would have done in an image, then use it as a container would.

    python scripts/try_image.py [--python PYTHON]    after `make package` has built the wheel

All stages share one folder in place of ``/``: an environment's programs name the place where it was made.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PLACES = re.compile(r"(?<![\w.])/(?=(?:bundle|opt|wheel)\b)")
_ADDRESS = re.compile(r"http://[\d.]+:(\d+)")
KEY = "a key for this run"


def main() -> None:
    """Build, tell a story, serve."""
    parser = argparse.ArgumentParser(description="Do what the Dockerfile says, without Docker.")
    parser.add_argument("--python", default=sys.executable, help="the image's python3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        image = Image(Path(scratch), shutil.which(options.python) or options.python)
        for instruction, words in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
            image.do(instruction, words)
        image.tell_a_story()
        image.serve()


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction of a Dockerfile with its words, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, words = line.partition(" ")
        yield instruction, words.strip()


class Image:
    """A folder in place of an image."""

    def __init__(self, root: Path, python: str) -> None:
        """Begin with the Python that the image would have."""
        programs = root / "usr" / "bin"
        programs.mkdir(parents=True)
        (programs / "python3").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n', encoding="utf-8")
        (programs / "python3").chmod(0o755)
        self._root = root
        self._environment = os.environ | {"PATH": f"{programs}:/usr/bin:/bin"}
        self._environment.pop("PYTHONPATH", None)
        self._entry: list[str] = []
        self._command: list[str] = []

    def do(self, instruction: str, words: str) -> None:
        """Follow an instruction.

        Raises:
            SystemExit: it is none that this knows.
        """
        if instruction == "RUN":
            subprocess.run(["/bin/sh", "-ec", self._here(words)], env=self._environment, check=True)
        elif instruction == "COPY":
            self._copy(words.split())
        elif instruction == "ENV":
            name, _, value = words.partition("=")
            self._environment[name] = self._here(value).replace("$PATH", self._environment["PATH"])
        elif instruction == "ENTRYPOINT":
            self._entry = json.loads(words)
        elif instruction == "CMD":
            self._command = [self._here(word) for word in json.loads(words)]
        elif instruction not in {"FROM", "USER", "EXPOSE"}:
            raise SystemExit(f"scripts/try_image.py does not know {instruction}: teach it.")

    def tell_a_story(self) -> None:
        """Run the container with a command of its own.

        Raises:
            SystemExit: there is no story.
        """
        story = subprocess.run(
            [*self._entry, "demo"], env=self._environment, check=True, capture_output=True, text=True
        )
        if not story.stdout.startswith("Once upon a time"):
            raise SystemExit(f"This is no story: {story.stdout!r}")
        print(story.stdout)

    def serve(self) -> None:
        """Run the container as it is, with the demo model as its bundle, until it is told to end.

        Raises:
            SystemExit: it does not answer, or does not end with 0.
        """
        shutil.copytree(ROOT / "artifacts" / "storyteller" / "bundle", self._root / "bundle")
        command = [*self._entry, *self._command, "--port", "0"]
        environment = self._environment | {"LLMB_API_KEY": KEY}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
            lines = server.stderr or ()
            found = next(filter(None, map(_ADDRESS.search, lines)), None)
            if found is None:
                raise SystemExit("The server has not told its address.")
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health", timeout=60) as answer:
                print("health:", answer.status)
            server.terminate()
            list(lines)  # to its end
        if server.returncode != 0:
            raise SystemExit(f"The server has ended with {server.returncode}.")

    def _here(self, words: str) -> str:
        return _PLACES.sub(f"{self._root}/", words)

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            return
        *sources, target = words
        folder = Path(self._here(target))
        folder.mkdir(parents=True, exist_ok=True)
        copied = [path for pattern in sources for path in ROOT.glob(pattern)]
        if len(copied) != len(sources):
            raise SystemExit(
                f"COPY finds {len(copied)} files for {', '.join(sources)}: run `make package` first."
            )
        for path in copied:
            shutil.copy(path, folder)


if __name__ == "__main__":
    main()
