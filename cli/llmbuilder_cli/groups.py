"""Groups of commands: their help needs none of them, and a run imports none but the one asked for."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from llmbuilder_cli.helping import Command, example
from llmbuilder_cli.table import Entry
from llmbuilder_cli.values import read_plainly


class _NotLoaded(TyperCommand):
    """A command that has not been imported."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.summary, rich_markup_mode=None)
        self._examples = entry.examples

    def load(self) -> Any:
        """Import it."""
        function = getattr(importlib.import_module(f"llmbuilder_cli.commands.{self.name}"), str(self.name))
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(self.name, cls=Command, epilog=example(*self._examples))(function)
        return typer.main.get_command(app)


def not_loaded(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The commands of a group, in their order."""
    return {name: _NotLoaded(name, entry) for name, entry in entries.items()}


class Group(TyperGroup):
    """A group of commands, each of which is imported when it is asked for."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options, which are read without pydantic."""
        return read_plainly(super().get_params(ctx), self.callback)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words begin with, imported, and the words after its name."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _NotLoaded) else command, rest


class TextByDefault(Group):
    """``generate MODEL -p ...`` is ``generate text MODEL -p ...``; the name of a command is never that of a model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after ``generate``."""
        is_to_be_completed = ctx.resilient_parsing and not args
        if not is_to_be_completed and not self._begins_with_command(ctx, args):
            args = ["text", *args]
        return super().parse_args(ctx, args)

    def _begins_with_command(self, ctx: Any, args: list[str]) -> bool:
        first = args[0] if args else ""
        if first in self.commands or first in ctx.help_option_names:
            return True
        if Path(first).exists():
            return False
        # A slip of the pen is told as one.
        from llmbuilder.checks import nearest

        return bool(nearest(first, self.commands))
