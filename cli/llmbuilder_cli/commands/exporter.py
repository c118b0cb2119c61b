"""``llmb exporter``: an environment of its own for exporting, beside which nothing else has to change."""

import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmbuilder_cli.report import tell


def exporter(
    action: Annotated[
        Literal["install", "remove"], typer.Argument(metavar="install|remove", help="What to do with it.")
    ],
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Wheel or clone of llmbuilder-runtime; what this installation came from if not given.",
        ),
    ] = None,
) -> None:
    """Make an environment for exporting alone, in your cache directory, or remove it.

    `install` takes about 1.3 GB, makes it anew if it is there, and prints its path. `llmb export`, and whatever is
    given a checkpoint in place of a bundle, then find it. PyTorch is the one for CPUs. No other environment changes;
    pip's own settings, such as PIP_CONSTRAINT and PIP_INDEX_URL, hold.
    """
    if action == "install":
        _make(_wanted(source))
    else:
        _remove()


def _make(wanted: str) -> None:
    from filelock import FileLock

    from llmbuilder.bundle.exporter import exporter_environment, mark_installed
    from llmbuilder.cleanup import writing
    from llmbuilder.signals import end_on

    end_on("SIGINT", "SIGTERM", "SIGHUP")
    environment = exporter_environment()
    with writing(environment):
        environment.parent.mkdir(parents=True, exist_ok=True)
        taken = FileLock(environment.with_suffix(".lock")).acquire()
    with taken:
        _install(environment, wanted)
        mark_installed()
    tell(str(environment))


def _remove() -> None:
    from llmbuilder.bundle.exporter import exporter_environment
    from llmbuilder.cleanup import writing

    environment = exporter_environment()
    if not environment.exists():
        tell(f"There is no exporter at {environment}.", err=True)
        return
    with writing(environment):
        shutil.rmtree(environment)


def _wanted(source: Path | None) -> str:
    """What pip is to install: ``source``, or what this installation came from, with the extras of an exporter."""
    from llmbuilder.distribution import requirement
    from llmbuilder.errors import ExportError, ModelNotFoundError

    if source is None:
        again = requirement("cpu", "export")
        if again is None:
            raise ExportError(
                "What llmbuilder-runtime was installed from has gone. Name its wheel or clone: llmb exporter install "
                "--from FILE."
            )
        return again
    if not source.exists():
        raise ModelNotFoundError(f"There is nothing at {source}. Check the path.")
    return f"{source.absolute()}[cpu,export]"


def _install(environment: Path, wanted: str) -> None:
    """Make the environment; PyTorch comes first, by itself, from the index of its wheels for CPUs if that answers."""
    from llmbuilder.bundle.exporter import python_of
    from llmbuilder.distribution import TORCH_INDEX, packages

    torch = [each for each in packages("export") if each.startswith("torch")]
    pip = [str(python_of(environment)), "-I", "-m", "pip", "install"]
    _run("a virtual environment", [sys.executable, "-m", "venv", "--clear", str(environment)])
    _run("PyTorch", [*pip, "--no-deps", "--retries", "1", "--extra-index-url", TORCH_INDEX, *torch])
    _run("llmbuilder-runtime with its exporter", [*pip, wanted])


def _run(what: str, command: list[str]) -> None:
    from llmbuilder.bundle.exporter import STDERR, run
    from llmbuilder.errors import ExportError

    tell(f"Installing {what} ...", err=True)
    if run(command, STDERR) != 0:
        raise ExportError(f"Installing {what} failed, see above. Repair that, then: llmb exporter install")
