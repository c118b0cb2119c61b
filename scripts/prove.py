"""Run the long proofs, part by part, and keep what each measured.

    python scripts/prove.py              every part that has no result for the present code
    python scripts/prove.py NAME ...     these parts, whether they have one or not

``tests/proofs.toml`` lists the parts. Results go to ``benchmarks/results/proofs/NAME.json``; what a part printed
stays in ``.cache/proofs/NAME.log``.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / "tests" / "proofs.toml"
RESULTS = ROOT / "benchmarks" / "results" / "proofs"
LOGS = ROOT / ".cache" / "proofs"
CODE = ("runtime", "export", "cli", "tests", "artifacts/storyteller", "constraints.txt", "pyproject.toml")
ORACLE = ROOT / ".venv-oracle" / "bin" / "python"


@dataclass(frozen=True)
class Part:
    """A part of the proofs: arguments for pytest, or a program of its own."""

    name: str
    environment: str = ".venv-dev"
    pytest: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    depends: tuple[str, ...] = CODE

    def command(self, results: Path) -> list[str]:
        """The command line that proves the part and writes what it measured to ``results``."""
        python = str(ROOT / self.environment / "bin" / "python")
        if self.pytest:
            return [python, "-m", "pytest", "--timeout=0", f"--prove={results}", *self.pytest]
        script, *arguments = self.program
        return [python, script, f"--results={results}", *arguments]


def read_parts(path: Path = PARTS) -> dict[str, Part]:
    """The parts of a list, in its order."""
    listed = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _part(name, **fields) for name, fields in listed.items()}


def _part(name: str, environment: str = Part.environment, **lists: Sequence[str]) -> Part:
    part = Part(name, environment, **{field: tuple(words) for field, words in lists.items()})
    if bool(part.pytest) == bool(part.program):
        raise ValueError(f"Part {name} of {PARTS.name} must have either `pytest` or `program`.")
    return part


def digest(paths: Sequence[str]) -> str:
    """A name for the present content of files and folders, as far as git does not ignore them."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    content = hashlib.sha256()
    for name in sorted(set(filter(None, listed.split("\0")))):
        path = ROOT / name
        if path.is_file():  # not deleted since the last commit
            content.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return content.hexdigest()[:16]


def commit(paths: Sequence[str]) -> str:
    """The commit that is proved, marked if what counts differs from it."""
    changed = _git("status", "--porcelain", "--", *paths)
    return _git("rev-parse", "--short", "HEAD").strip() + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def is_proved(part: Part) -> bool:
    """Whether the part passed with the present content of what it depends on."""
    try:
        result = json.loads((RESULTS / f"{part.name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(result["passed"]) and result.get("code") == digest(part.depends)


def prove(part: Part) -> bool:
    """Run a part and keep its result; says whether it passed."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    measured, log = LOGS / f"{part.name}.json", LOGS / f"{part.name}.log"
    measured.unlink(missing_ok=True)
    facts: dict[str, Any] = {
        "commit": commit(part.depends),
        "code": digest(part.depends),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    start = time.monotonic()
    with log.open("wb") as output:
        environment = os.environ | {"LLMBUILDER_ORACLE": str(ORACLE)}
        code = subprocess.run(
            part.command(measured), stdout=output, stderr=output, check=False, cwd=ROOT, env=environment
        ).returncode
    facts |= {"seconds": round(time.monotonic() - start), "passed": code == 0, "measured": _read(measured)}
    if digest(part.depends) != facts["code"]:
        print("not kept: the code was changed meanwhile", flush=True)
        return False
    (RESULTS / f"{part.name}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{'passed' if code == 0 else 'FAILED'} after {facts['seconds']} s; output: {log}", flush=True)
    return code == 0


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def main() -> None:
    """Prove what the command line names."""
    parser = argparse.ArgumentParser(description="Run the long proofs, part by part.")
    parts = read_parts()
    parser.add_argument("names", nargs="*", metavar="PART", help=", ".join(parts))
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in parts]:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(parts)}")
    failed = []
    for part in [parts[name] for name in names] or parts.values():
        print(f"{part.name}: ", end="", flush=True)
        if not names and is_proved(part):
            print("proved already", flush=True)
        elif not prove(part):
            failed.append(part.name)
    sys.exit(f"Not proved: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
