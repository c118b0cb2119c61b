"""The programs ``llmb`` and ``llmbuilder``: the commands wired together.

Text and other results go to stdout, everything else to stderr. Exit codes: 0 success, 1 failure, 2 wrong usage,
130 interrupted.
"""

import sys
from typing import Annotated

import typer

from llmbuilder_cli.commands import (
    bench,
    chat,
    compare,
    config,
    doctor,
    evaluate,
    export,
    generate,
    info,
    serve,
    verify,
)
from llmbuilder_cli.helping import Command, example
from llmbuilder_cli.report import give_up_full, report_error, tell, write_whatever_comes

# Without markup Typer does not load rich: help appears in half the time, and a usage error is short.
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("export", cls=Command, epilog=example("llmb export model/model.pt --tokenizer tokenizer/"))(
    export.export
)
app.add_typer(generate.app, name="generate")
app.command("chat", cls=Command, epilog=example('llmb chat model --system "You are brief."'))(chat.chat)
app.command(
    "evaluate",
    cls=Command,
    epilog=example("llmb evaluate story.txt", "llmb evaluate texts.jsonl -m model --json"),
)(evaluate.evaluate)
app.command(
    "compare",
    cls=Command,
    epilog=example(
        'llmb compare model -p "Once upon a time" --config temperature=0.5 --config temperature=1'
    ),
)(compare.compare)
app.command("info", cls=Command, epilog=example("llmb info model"))(info.info)
app.command("bench", cls=Command, epilog=example("llmb bench model --rows 1,8"))(bench.bench)
app.command(
    "serve",
    cls=Command,
    epilog=example("llmb serve model", "llmb serve small=models/small large=models/large --port 8080"),
)(serve.serve)
app.command("config", cls=Command, epilog=example("llmb config", "llmb config model --json"))(config.config)
app.command("doctor", cls=Command, epilog=example("llmb doctor"))(doctor.doctor)
app.command("verify", cls=Command, epilog=example("llmb verify model"))(verify.verify)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        tell(f"llmbuilder-runtime {metadata.version('llmbuilder-runtime')}")
        raise typer.Exit


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

    end_on("SIGTERM", "SIGHUP")


def main() -> None:
    """Entry point of the installed programs."""
    sys.excepthook = report_error
    try:
        typer.main.get_command(app)()  # app() would put a hook of its own in its place
    finally:
        give_up_full(sys.stderr)
