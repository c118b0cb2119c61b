"""The programs ``llmb`` and ``llmbuilder``: the commands wired together.

Text and other results go to stdout, everything else to stderr. Exit codes: 0 success, 1 failure, 2 wrong usage,
130 interrupted.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmbuilder_cli.groups import Group, TextByDefault, not_loaded
from llmbuilder_cli.report import give_up_full, ready_streams, report_error, tell, write_whatever_comes
from llmbuilder_cli.settings import read_user_file
from llmbuilder_cli.table import COMMANDS, GENERATE


class Llmb(Group):
    """The program."""

    def __init__(self, **attributes: Any) -> None:
        """Hold all commands."""
        generate = TextByDefault(
            name="generate",
            help=COMMANDS["generate"].summary,
            commands=not_loaded(GENERATE),
            rich_markup_mode=None,
        )
        super().__init__(**attributes | {"commands": not_loaded(COMMANDS) | {"generate": generate}})


# Without markup Typer does not load rich: help appears in half the time, and a usage error is short.
app = typer.Typer(
    cls=Llmb,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        tell(f"llmbuilder-runtime {_version()}")
        raise typer.Exit


def _version() -> str:
    """The version of this distribution: its record has it in its name, which is read sooner than what is in it."""
    for folder in sys.path:
        for record in Path(folder).glob("llmbuilder_runtime-*.dist-info"):
            return record.name.removesuffix(".dist-info").partition("-")[2]
    from importlib import metadata

    return metadata.version("llmbuilder-runtime")


@app.callback()
def llmb(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 (its callback acts)
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Export LLMBuilder models once, generate anywhere without torch."""
    write_whatever_comes()
    if debug:
        sys.excepthook = sys.__excepthook__
    import llmbuilder_export  # noqa: F401 (refuses LLMBuilder's own package)
    from llmbuilder.signals import end_on

    read_user_file.cache_clear()  # of an earlier run in this process
    end_on("SIGTERM", "SIGHUP")


def main() -> None:
    """Entry point of the installed programs."""
    sys.excepthook = report_error
    ready_streams()
    try:
        typer.main.get_command(app)()  # app() would put a hook of its own in its place
    finally:
        give_up_full(sys.stderr)
