"""Sections as programs of their own, so that one that crashes or hangs takes nothing with it."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cudacheck.sections import SECTIONS
from cudacheck.setup import ROOT, Setup
from llmbuilder.cleanup import replace_file

_SHORTEST = 8
"""Seconds with which a section is begun."""
_GRACE = 5
"""Seconds from a section's limit, which it heeds itself, to its end."""


@dataclass
class Run:
    """The results so far, rewritten after every section."""

    setup: Setup
    output: Path
    seconds: float
    facts: Mapping[str, Any]
    found: dict[str, Any] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds of the whole run."""
        return self.seconds - (time.monotonic() - self.start)

    def section(self, name: str) -> None:
        """Run a section within its own limit and the whole one's."""
        limit = min(SECTIONS[name].seconds, self.left - _GRACE)
        print(f"[{time.monotonic() - self.start:5.1f}] {name}: at most {limit:.0f} s", flush=True)
        if limit < _SHORTEST:
            self.found[name] = {"finished": False, "error": "no time was left", "checks": []}
        else:
            path = self.setup.work / f"section {name}.json"
            error = _call(name, path, limit, self.setup)
            kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"checks": []}
            self.found[name] = {**kept, "finished": error is None, "error": error}
        if (error := self.found[name]["error"]) is not None:
            print(f"[{time.monotonic() - self.start:5.1f}] {name}: {error}", flush=True)
        self.write()

    def write(self) -> None:
        """Write all results."""
        checks = [check for section in self.found.values() for check in section["checks"]]
        content = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": self.setup.machine(),
            **self.facts,
            "seconds": round(time.monotonic() - self.start, 1),
            "passed": sum(check["passed"] is True for check in checks),
            "failed": [check["name"] for check in checks if check["passed"] is False],
            "unfinished": [name for name, section in self.found.items() if not section["finished"]],
            "not_checked": [gap for section in self.found.values() for gap in section.get("not_checked", ())],
            "sections": self.found,
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.output, json.dumps(content, indent=1, default=str) + "\n")


def _call(name: str, path: Path, limit: float, setup: Setup) -> str | None:
    """Run a section in a process; what kept it from its end, if anything did."""
    command = [sys.executable, str(ROOT / "scripts" / "cuda_check.py"), "--section", name]
    command += ["--state", str(path), "--seconds", str(limit), "--models", str(setup.models)]
    command += ["--work", str(setup.work), "--device", setup.device]
    command += ["--rehearse"] if setup.rehearse else []
    environment = os.environ | {
        "XDG_CACHE_HOME": str(setup.work / "cache"),
        "PYTHONUNBUFFERED": "1",
        "LD_LIBRARY_PATH": os.pathsep.join(_libraries()),
    }
    try:
        code = subprocess.run(command, check=False, timeout=limit + _GRACE, env=environment).returncode
    except subprocess.TimeoutExpired:
        return f"ended after its limit of {limit:.0f} s"
    return None if code == 0 else f"ended with status {code}"


def _libraries() -> list[str]:
    """Folders of NVIDIA's wheels, which ONNX Runtime finds by itself only where it is installed beside them."""
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else list(found.submodule_search_locations or ())
    folders = [str(folder) for place in places for folder in sorted(Path(place).glob("*/lib"))]
    return [*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]


def failures(found: Mapping[str, Any]) -> Sequence[str]:
    """Names of all checks that failed, and of sections that did not end."""
    return [
        *(c["name"] for section in found.values() for c in section["checks"] if c["passed"] is False),
        *(name for name, section in found.items() if not section["finished"]),
    ]
