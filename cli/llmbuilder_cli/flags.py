"""Flags that stand in tables."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import typer


class Flag(NamedTuple):
    """A flag of the command line."""

    words: str
    kind: Any
    help: str
    default: str = ""
    """What holds where nothing says it."""
    metavar: str | None = None
    least: int | None = None
    most: int | None = None

    def annotation(self, heading: str, default: str | None = None) -> Any:
        """What Typer reads, below a heading of the help; another default may be shown."""
        option = typer.Option(
            self.words,
            help=self.help,
            metavar=self.metavar,
            min=self.least,
            max=self.most,
            show_default=default or self.default or False,
            rich_help_panel=heading,
        )
        return Annotated[self.kind | None, option]


Command = Callable[..., None]


def takes(argument: str, flags: Mapping[str, Flag], heading: str) -> Callable[[Command], Command]:
    """Give a command the flags of a table; it gets the values of those that are typed as one dict, by their names."""

    def decorate(command: Command) -> Command:
        own = [each for each in inspect.signature(command).parameters.values() if each.name != argument]
        shared = [parameter(name, flag.annotation(heading)) for name, flag in flags.items()]

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in flags}
            given = {name: value for name, value in values.items() if value not in (None, [])}
            command(**arguments, **{argument: given})

        return with_parameters(run, [*own, *shared])

    return decorate


def parameter(name: str, annotation: Any, default: object = None) -> inspect.Parameter:
    """A parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_parameters(command: Command, parameters: list[inspect.Parameter]) -> Command:
    """The command, with these parameters as far as Typer can see."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
