"""Options that several commands share."""

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

MaxTokens = Annotated[int | None, typer.Option(help="Most tokens to generate.")]
Temperature = Annotated[float | None, typer.Option(help="Below 1 sharpens the distribution.")]
TopK = Annotated[int | None, typer.Option(help="Keep the k likeliest tokens; 0: all.")]
TopP = Annotated[float | None, typer.Option(help="Keep the likeliest tokens of this probability mass.")]
MinP = Annotated[float | None, typer.Option(help="Drop tokens below this share of the likeliest.")]
RepetitionPenalty = Annotated[float | None, typer.Option(help="Above 1 makes used tokens less likely.")]
Stop = Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End at this text; may be repeated.")]
Greedy = Annotated[bool, typer.Option("--greedy", help="Take the likeliest token instead of sampling.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same text.")]


def given_options(
    assignments: Sequence[str] | None, *, max_tokens: int | None = None, greedy: bool = False, **options: Any
) -> dict[str, Any]:
    """The options of `GenerationConfig` that a command was given; those of ``--set`` win."""
    named = {"max_new_tokens": max_tokens, "do_sample": False if greedy else None, **options}
    return {name: value for name, value in named.items() if value is not None} | parse_assignments(
        assignments
    )


def parse_assignments(assignments: Sequence[str] | None) -> dict[str, Any]:
    """``["min_new_tokens=5"]`` -> ``{"min_new_tokens": 5}``."""
    return dict(_parse(assignment) for assignment in assignments or ())


def _parse(assignment: str) -> tuple[str, Any]:
    from llmbuilder.interactive.values import parse_value

    name, separator, value = assignment.partition("=")
    if not separator:
        raise typer.BadParameter(f"{assignment!r} is not of the form NAME=VALUE.", param_hint="--set")
    return name, parse_value(value)
