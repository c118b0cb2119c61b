"""Prove that a model is exported beside the environment in which it was trained, and that this stays as it was.

    python scripts/beside_upstream.py [--results FILE]

LLMBuilder 2.0.0 is installed for its files only: what it depends on has no part in this. The line for pipx is that of
the README. Takes torch and its friends twice: some minutes, and 3 GB in a temporary folder.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORYTELLER = ROOT / "artifacts" / "storyteller"
UPSTREAM = "llmbuilder==2.0.0"
PIPX = "pipx==1.18.4"


def main() -> None:
    """Do all of it in a temporary folder."""
    parser = argparse.ArgumentParser(description="Export beside the environment of the training.")
    parser.add_argument("--results", type=Path, help="where to write seconds and megabytes, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = Beside(Path(folder)).prove()
    print(json.dumps(measured))
    if options.results:
        options.results.write_text(json.dumps(measured) + "\n", encoding="utf-8")


class Beside:
    """A folder with a trained model, and the environments around it."""

    def __init__(self, folder: Path) -> None:
        """Train, so to speak, and build the wheel."""
        self._folder = folder
        self._environment = os.environ | {
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PIPX_HOME": str(folder / "pipx"),
            "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
            "PIP_RETRIES": "1",
        }
        self._environment.pop("PYTHONPATH", None)
        (folder / "model").mkdir()
        shutil.copy(STORYTELLER / "model.pt", folder / "model")
        shutil.copytree(STORYTELLER / "tokenizer", folder / "tokenizer")
        build = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(folder),
            str(ROOT),
        ]
        self._run(*build)
        (wheel,) = folder.glob("*.whl")
        self._wheel = wheel
        self._training = self._made("training", "--no-deps", UPSTREAM)
        self._before = hashes(self._training)

    def prove(self) -> dict[str, float]:
        """Every way that the documents show; seconds of each, and the megabytes of the exporter."""
        begin = time.monotonic()
        self._export_with_pipx()
        piped = time.monotonic()
        self._export_by_itself()
        ended = time.monotonic()
        self._mix_and_repair()
        size = sum(path.stat().st_size for path in (self._folder / "cache").rglob("*") if path.is_file())
        return {
            "pipx_seconds": round(piped - begin),
            "exporter_seconds": round(ended - piped),
            "exporter_megabytes": round(size / 1e6),
        }

    def _export_with_pipx(self) -> None:
        pipx = self._made("pipx-environment", PIPX, constrained=False)
        readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
        (line,) = re.findall(r"^\$ pipx (run .*)$", readme, re.MULTILINE)
        self._run(str(pipx / "bin" / "pipx"), *shlex.split(line))
        self._check_training("pipx run")
        shutil.rmtree(self._folder / "pipx")

    def _export_by_itself(self) -> None:
        """With an exporter of its own whatever is given the checkpoint exports it."""
        runtime = self._made("runtime", f"{self._wheel}[cpu]")
        llmb = str(runtime / "bin" / "llmb")
        bundle = self._folder / "model" / "model-onnx"
        self._run(llmb, "generate", str(bundle), "-p", "Once", "--max-tokens", "5")
        shutil.rmtree(bundle)
        self._run(llmb, "exporter", "install")
        self._run(llmb, "generate", "model", "--tokenizer", "tokenizer", "-p", "Once", "--max-tokens", "5")
        if not bundle.is_dir():
            raise SystemExit(f"There is no bundle at {bundle}.")
        self._check_training("llmb exporter install")

    def _mix_and_repair(self) -> None:
        """Installed over each other they are refused with two commands, which put the training's files back."""
        python = str(self._training / "bin" / "python")
        self._run(python, "-m", "pip", "install", "--quiet", "--no-deps", str(self._wheel))
        if hashes(self._training) == self._before:
            raise SystemExit("Installed over LLMBuilder, the wheel has changed none of its files.")
        for package in ("llmbuilder", "llmbuilder_export"):
            tried = subprocess.run(
                [python, "-c", f"import {package}"],
                capture_output=True,
                text=True,
                check=False,
                cwd=self._folder,
            )
            if tried.returncode == 0:
                raise SystemExit(f"Beside LLMBuilder {package} is imported.")
        commands = re.findall(r"(pip uninstall --yes \S+), then (pip .*?)\. Install", tried.stderr)[0]
        for command in commands:
            self._run(python, "-m", *shlex.split(command))
        self._check_training("The repair")

    def _made(self, name: str, *packages: str, constrained: bool = True) -> Path:
        """A virtual environment with these packages."""
        place = self._folder / name
        self._run(sys.executable, "-m", "venv", str(place))
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
        changes = {} if constrained else {"PIP_CONSTRAINT": ""}
        subprocess.run(pip, env=self._environment | changes, check=True)
        return place

    def _run(self, *command: str) -> None:
        subprocess.run(command, cwd=self._folder, env=self._environment, check=True)

    def _check_training(self, who: str) -> None:
        if hashes(self._training) != self._before:
            raise SystemExit(f"{who} has changed the environment of the training.")


def hashes(environment: Path) -> dict[str, str]:
    """SHA-256 of every file of LLMBuilder's in an environment, by its path there; what Python compiles left out."""
    return {
        str(path.relative_to(environment)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(environment.rglob("*llmbuilder*/**/*"))
        if path.is_file() and path.suffix != ".pyc" and path.name not in {"RECORD", "INSTALLER", "REQUESTED"}
    }


if __name__ == "__main__":
    main()
