"""``llmb doctor``: what a report of a fault needs."""

import json
from typing import Annotated, Any

import typer

from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell, tell_json


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Show what a bug report needs: machine, ONNX Runtime, packages, a short self-test. Nothing private."""
    with said("Looking at this machine"):
        from llmbuilder_cli.diagnosis import diagnose

        found = diagnose()
    if as_json:
        tell_json(json.dumps(found, ensure_ascii=False))
    else:
        width = max(map(len, found))
        tell("\n".join(f"{name:{width}}  {_written(name, value)}" for name, value in found.items()))
    if found["self-test"] != "passed":
        raise typer.Exit(1)


def _written(name: str, value: Any) -> str:
    if isinstance(value, dict):
        here = [f"{package} {version}" for package, version in value.items() if version is not None]
        missing = [package for package, version in value.items() if version is None]
        return ", ".join(here) + (f"; not installed: {', '.join(missing)}" if missing else "")
    if isinstance(value, list):
        return ", ".join(value) or "none known"
    if value is None:
        return "none" if name == "card" else "not known"
    return f"{value / 1e9:.1f} GB" if name == "memory free" else str(value)
