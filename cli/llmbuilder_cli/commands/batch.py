"""``llmb generate batch``: complete a file of prompts."""

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbuilder_cli.filters import FILTERS, read_filter
from llmbuilder_cli.flags import takes
from llmbuilder_cli.forms import FORMS, constrained
from llmbuilder_cli.helping import FILTER, FORM, STYLE
from llmbuilder_cli.options import (
    Device,
    NamedModel,
    Threads,
    Tokenizer,
    require_model,
    takes_generation_options,
)
from llmbuilder_cli.progress import LiveLine, said
from llmbuilder_cli.report import tell, tell_json
from llmbuilder_cli.writing import WRITING, InStyle, check_writing

if TYPE_CHECKING:
    from llmbuilder.files.jsonl import Progress
    from llmbuilder.inference import ConstrainedGenerator, TextGenerator

_STANDARD = Path("-")


@takes_generation_options
@takes("filter", FILTERS, FILTER)
@takes("writing", WRITING, STYLE)
@takes("form", FORMS, FORM)
def batch(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] IN.jsonl OUT.jsonl",
            help="The model; lines with a prompt, and any generation option; where the completions go. - for stdin "
            "and stdout.",
        ),
    ],
    *,
    named: NamedModel = None,
    tokenizer: Tokenizer = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Most prompts decoded at once; 8 if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the lines already written.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew if OUT.jsonl is there.")] = False,
    device: Device,
    threads: Threads,
    form: dict[str, Any],
    filter: dict[str, Any],  # noqa: A002 (the name of its flags)
    writing: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Complete every prompt of a JSONL file, in order. Progress goes to stderr.

    A line whose text cannot have its form, or is refused by a filter, has the reason as its error. Exits with 1 if a
    line has an error.
    """
    if len(files) not in {2, 3}:
        raise typer.BadParameter(
            "Name the file of prompts and the file of completions, and before them the model.",
            param_hint="IN.jsonl OUT.jsonl",
        )
    model = require_model(files[0] if len(files) == 3 else None, named)
    prompts, completions = files[-2:]
    other = {"--batch-size": batch_size} | {FORMS[name].words: value for name, value in form.items()}
    check_writing(writing, options, other)
    gate = read_filter(filter)
    _check_source(prompts)
    _check_target(completions, resume=resume, overwrite=overwrite)
    if batch_size is not None:
        options = {"batch_size": batch_size, **options}

    with said(f"Loading {model}"):
        from llmbuilder.files.jsonl import generate_file, generate_lines
        from llmbuilder.inference import TextGenerator

        generator = TextGenerator(model, tokenizer, device=device, threads=threads)
    with generator, closing(_completer(generator, form, writing)) as completer, _as_file(prompts) as source:
        if completions == _STANDARD:
            errors = _print_lines(generate_lines(completer, source, gate=gate, **options))
        else:
            whole: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "gate": gate}
            with _Display() as display:
                progress = generate_file(
                    completer, source, completions, report=display.show, **whole, **options
                )
            tell(_summary(progress), err=True)
            errors = progress.errors
    if errors:
        raise typer.Exit(1)


def _completer(
    generator: "TextGenerator", form: Mapping[str, Any], writing: Mapping[str, Any]
) -> "TextGenerator | ConstrainedGenerator | InStyle":
    """What completes the prompts: texts of a form, in a style, or any."""
    if form:
        return constrained(generator, form)
    return InStyle(generator, writing) if writing else generator


@contextmanager
def _as_file(prompts: Path) -> Iterator[Path]:
    """The file of prompts; what comes through standard input is one for as long as it is needed."""
    if prompts != _STANDARD:
        yield prompts
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "standard input"
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield file


def _print_lines(records: Iterable[dict[str, Any]]) -> int:
    """Print records as they come; return how many are errors."""
    errors = 0
    for record in records:
        tell_json(json.dumps(record, ensure_ascii=False))
        errors += "error" in record
    return errors


def _check_source(source: Path) -> None:
    from llmbuilder.errors import ConfigError

    if source != _STANDARD and not source.is_file():  # found before a model is loaded
        raise ConfigError(f"There is no file of prompts at {source}. Check the path.")


def _check_target(target: Path, *, resume: bool, overwrite: bool) -> None:
    from llmbuilder.errors import ConfigError

    if target == _STANDARD:
        if resume or overwrite:
            raise typer.BadParameter("Standard output cannot be resumed or overwritten.", param_hint="-")
        return
    if resume and overwrite:
        raise typer.BadParameter("It contradicts --overwrite: choose one.", param_hint="--resume")
    if target.exists() and not (resume or overwrite):
        raise ConfigError(
            f"{target} exists. Give --resume to go on after its last line, or --overwrite to begin anew."
        )


class _Display(LiveLine):
    """How far the run is; what stops early says how to go on."""

    _last: "Progress | None" = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is not None and self._last is not None:
            tell(f"Stopped. {_summary(self._last)}. Go on with: {_resuming(sys.argv[1:])}", err=True)

    def show(self, progress: "Progress") -> None:
        """Show how far the run is."""
        self._last = progress
        left = "" if progress.seconds_left is None else f", {_clock(progress.seconds_left)} left"
        self.say(_summary(progress) + left)


def _speed(progress: "Progress") -> str:
    from llmbuilder.showing import counted

    if not progress.tokens:  # none were generated, or those of a style, which nobody counts
        return f"in {_clock(progress.seconds)}"
    return f"{counted(progress.tokens, 'token')} in {_clock(progress.seconds)}, {progress.tokens_per_second:.1f}/s"


def _summary(progress: "Progress") -> str:
    parts = [
        f"{progress.done} of {progress.total} prompts",
        _speed(progress),
    ]
    parts += [f"{progress.resumed} were there already"] if progress.resumed else []
    parts += [f"{progress.errors} with errors"] if progress.errors else []
    return ", ".join(parts)


def _resuming(arguments: Sequence[str]) -> str:
    """The command that goes on with what a command with these arguments has begun."""
    same = [argument for argument in arguments if argument not in ("--overwrite", "--resume")]
    return shlex.join(["llmb", *same, "--resume"])


def _clock(seconds: float) -> str:
    """``75.2`` -> ``1:15``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
