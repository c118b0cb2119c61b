"""What a command says of its options: help in groups, and what is meant by an option that it does not have."""

from typing import Any

import typer
from typer.core import TyperCommand

from llmbuilder_cli.values import read_plainly

GENERATION = "Generation"
MACHINE = "Machine"
FORM = "Form of the text"
STYLE = "Writing in a style, if one of these is given (the text comes when it is whole)"
FILTER = "Filter (the text comes when it is whole, or is refused)"
_OWN = "Options"
"""Headings of the groups of options."""


class Command(TyperCommand):
    """A command of ``llmb``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options, which are read without pydantic."""
        return read_plainly(super().get_params(ctx), self.callback)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the line of usage, as they are typed; several files may be one argument."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.strip("{}.") if piece.startswith("{") else piece for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group of options, in the order in which they come."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], _OWN: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                if is_argument:  # its kind says nothing to whom its name says nothing
                    record = (record[0].partition(" <")[0], record[1])
                heading = getattr(parameter, "rich_help_panel", None) or _OWN
                sections.setdefault("Arguments" if is_argument else heading, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command line; an option for ``--set`` is told as one."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            flag = getattr(error, "option_name", None)
            if not flag or all(parameter.name != "set_" for parameter in self.params):
                raise
            if (name := _generation_option(flag)) is None:
                raise
            raise typer.BadParameter(f"There is no {flag}. Write: --set {name}=VALUE", ctx) from error


def _generation_option(flag: str) -> str | None:
    """The option of `GenerationConfig` that ``--its-name`` means."""
    from llmbuilder.overrides import GenerationOptions

    name = flag.lstrip("-").replace("-", "_")
    return name if name in GenerationOptions.__annotations__ else None


def example(*commands: str) -> str:
    """The end of a command's help."""
    lines = [f"  $ {command}" for command in commands]
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *lines])
