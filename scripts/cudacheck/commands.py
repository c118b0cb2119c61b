"""What ``llmb`` says of bundles and card, proves and measures there: its commands, in processes without torch.

Their functions are called without Typer, which a machine with a card may have in another version.
"""

import json
import subprocess
import sys
from typing import Any

from cudacheck.report import Section
from cudacheck.setup import Setup

_LONGEST = 3000


def run(setup: Setup, section: Section) -> None:
    """``info``, ``verify`` and ``bench`` of the demo and of the smaller shape."""
    where = {"device": "cpu" if setup.rehearse else "auto", "threads": None}
    size = {"prompt_tokens": 16, "new_tokens": 4, "repeat": 1} if setup.rehearse else {}
    rows = setup.pick("1,8,32", "1,2")
    for name in ("demo", "135M"):
        bundle = str(setup.work / name)
        _call(section, name, "info", bundle, {})
        _call(section, name, "verify", bundle, where)
        _call(section, name, "bench", bundle, {"as_json": True, "rows": rows, **where, **size})


def _call(section: Section, name: str, command: str, bundle: str, options: dict[str, Any]) -> None:
    """Check that a command ends well; what it printed is kept."""
    label = f"llmb {command} {name}"
    if not section.enough(label, 5):
        return
    with section.attempt(label):
        program = (
            "from pathlib import Path\n"
            f"from llmbuilder_cli.commands.{command} import {command}\n"
            f"{command}(Path({bundle!r}), **{options!r})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=section.left
        )
        if options.get("as_json") and done.returncode == 0:
            section.check(label, True, said=json.loads(done.stdout))
        else:
            said, errors = done.stdout[:_LONGEST].splitlines(), done.stderr[-_LONGEST:]
            section.check(label, done.returncode == 0, said=said, errors=errors)
