"""The commands as users call them, without torch: what `llmb` says of bundles and card, proves and measures there."""

import json
import subprocess
import sys

from cudacheck.report import Section
from cudacheck.setup import Setup

_LONGEST = 3000


def run(setup: Setup, section: Section) -> None:
    """``info``, ``verify`` and ``bench`` of the demo and of the smaller shape."""
    device = ["--device", "cpu"] if setup.rehearse else []
    size = ["--prompt-tokens", "16", "--new-tokens", "4", "--repeat", "1"] if setup.rehearse else []
    rows = setup.pick("1,8,32", "1,2")
    for name in ("demo", "135M"):
        bundle = str(setup.work / name)
        _call(section, f"llmb info {name}", ["info", bundle])
        _call(section, f"llmb verify {name}", ["verify", bundle, *device])
        _call(section, f"llmb bench {name}", ["bench", bundle, "--json", "--rows", rows, *device, *size])


def _call(section: Section, name: str, words: list[str]) -> None:
    """Check that a command ends well; what it printed is kept."""
    if not section.enough(name, 5):
        return
    with section.attempt(name):
        command = [sys.executable, "-m", "llmbuilder_cli", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=section.left)
        said = done.stdout[:_LONGEST]
        if "--json" in words and done.returncode == 0:
            section.check(name, True, said=json.loads(done.stdout))
        else:
            section.check(name, done.returncode == 0, said=said.splitlines(), errors=done.stderr[-_LONGEST:])
