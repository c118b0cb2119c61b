"""Options that several commands share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Model = Annotated[
    Path, typer.Option("--model", "-m", help="Bundle directory, or the checkpoint it was made from.")
]
Tokenizer = Annotated[
    Path | None,
    typer.Option("--tokenizer", "-t", help="Tokenizer the bundle must have been exported with."),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to run.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; all this process may use if not given.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other generation option; may be repeated."),
]


def parse_assignments(assignments: Sequence[str] | None) -> dict[str, Any]:
    """``["min_new_tokens=5"]`` -> ``{"min_new_tokens": 5}``: values are JSON, or else plain strings."""
    return dict(_parse(assignment) for assignment in assignments or ())


def _parse(assignment: str) -> tuple[str, Any]:
    name, separator, value = assignment.partition("=")
    if not separator:
        raise typer.BadParameter(f"{assignment!r} is not of the form NAME=VALUE.", param_hint="--set")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
