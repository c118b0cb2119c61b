"""Where everything of this benchmark lies: in a folder that git ignores, but for the results."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = (ROOT / ".cache" / "peers").resolve()
MODELS = HOME / "models"
RUNS = HOME / "runs"
FIDELITY = HOME / "fidelity"
DATA = ROOT / "benchmarks" / "data"
RESULTS = ROOT / "benchmarks" / "results"
PYTHONPATH = ":".join(str(ROOT / name) for name in ("benchmarks", "runtime", "export", "cli"))


def commit() -> str:
    """The commit of our code, marked where files differ from it."""
    revision = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{revision}-dirty" if changed else revision


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.strip()
