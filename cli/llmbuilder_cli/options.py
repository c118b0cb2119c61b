"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Sequence
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


def given_options(
    *,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 sharpens the distribution.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens; 0: all.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Keep the likeliest tokens of this probability mass.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens below this share of the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 makes used tokens less likely.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End at this text; may be repeated.")
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take the likeliest token instead of sampling.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None,
    set_: Assignments = None,
) -> dict[str, Any]:
    """The options of `GenerationConfig` that a command was given; those of ``--set`` win."""
    named = {
        "max_new_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop_strings": stop,
        "do_sample": False if greedy else None,
        "seed": seed,
    }
    return {name: value for name, value in named.items() if value is not None} | parse_assignments(set_)


def takes_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the parameters of `given_options`; it gets what that returns as ``options``."""
    shared = inspect.signature(given_options).parameters
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "options"]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        named = {name: arguments.pop(name) for name in shared}
        command(**arguments, options=given_options(**named))

    parameters = [*own, *shared.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def parse_assignments(assignments: Sequence[str] | None) -> dict[str, Any]:
    """``["min_new_tokens=5"]`` -> ``{"min_new_tokens": 5}``."""
    return dict(_parse(assignment) for assignment in assignments or ())


def _parse(assignment: str) -> tuple[str, Any]:
    from llmbuilder.sessions.values import parse_value

    name, separator, value = assignment.partition("=")
    if not separator:
        raise typer.BadParameter(
            f"{assignment!r} is not of the form NAME=VALUE. Write it like seed=1.", param_hint="--set"
        )
    return name, parse_value(value)
