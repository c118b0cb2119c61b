"""``llmb generate text``: continue a prompt on stdout, or prompt after prompt."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbuilder_cli.helping import FORM
from llmbuilder_cli.job import Job
from llmbuilder_cli.options import (
    Device,
    Model,
    NamedModel,
    Threads,
    Tokenizer,
    named_once,
    takes_generation_options,
)
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell, tell_json

if TYPE_CHECKING:
    from llmbuilder.inference import Completion, ConstrainedGenerator, TextGenerator


_AT_THE_END = {"num_beams", "stop_strings", "max_time"}
"""Options with which it is known only at the end whether a text has its form."""


@takes_generation_options
def text(
    *,
    model: Model = None,
    named: NamedModel = None,
    tokenizer: Tokenizer = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Text to continue; - or nothing: read from stdin.")
    ] = None,
    device: Device,
    threads: Threads,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object for each completion instead of streaming text."),
    ] = False,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive", "-i", help="Answer prompt after prompt; a chat if the model has a template."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Tell tokens and speed on stderr after the text.")
    ] = False,
    setup: Annotated[bool, typer.Option("--setup", help="Be asked for everything.")] = False,
    required: Annotated[
        list[str] | None,
        typer.Option(metavar="WORDS", help="The text says these; may be repeated.", rich_help_panel=FORM),
    ] = None,
    forbidden: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS", help="The text does not say these; may be repeated.", rich_help_panel=FORM
        ),
    ] = None,
    json_schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The text is JSON of this schema.", rich_help_panel=FORM),
    ] = None,
    grammar: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The text matches this grammar, in the Lark form of llguidance.",
            rich_help_panel=FORM,
        ),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN", help="All of the text matches this regular expression.", rich_help_panel=FORM
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="The text is one of these; repeat for each.", rich_help_panel=FORM),
    ] = None,
    options: dict[str, Any],
) -> None:
    """Continue a prompt. The text streams to stdout as it is generated."""
    if interactive and (as_json or prompt is not None):
        raise typer.BadParameter(
            "A session takes neither --prompt nor --json: leave them out.", param_hint="--interactive"
        )
    model = named_once(model, named)
    given = {
        "required_words": required,
        "forbidden_words": forbidden,
        "json_schema": json_schema,
        "grammar": grammar,
        "regex": regex,
        "choices": choice,
    }
    form = {name: value for name, value in given.items() if value}
    if form and interactive:
        raise typer.BadParameter(
            "A session takes no form of the text: leave it out.", param_hint="--interactive"
        )
    if options.get("num_return_sequences", 1) > 1 and not as_json:
        raise typer.BadParameter("Several texts need --json: a line for each.", param_hint="--set")
    job = Job(
        model,
        tokenizer,
        prompt,
        options,
        interactive=interactive,
        as_json=as_json,
        verbose=verbose,
        form=form,
        device=device,
        threads=threads,
    )
    if setup or (model is None and sys.stdin.isatty()):
        from llmbuilder_cli.questions import ask

        job = ask(job)
    elif model is None:
        raise typer.BadParameter(
            "Name the model, such as in: llmb generate MODEL -p TEXT. Or be asked with --setup.",
            param_hint="MODEL",
        )
    if not job.interactive:
        job = replace(job, prompt=_read_prompt(job.prompt))
    _run(job)


def _run(job: Job) -> None:
    assert job.model is not None  # noqa: S101 (given, or asked for)
    with said(f"Loading {job.model}"):
        from llmbuilder.inference import InteractiveGenerator, TextGenerator

        generator = TextGenerator(job.model, job.tokenizer, device=job.device, threads=job.threads)
    with generator:
        if job.interactive:
            InteractiveGenerator(generator, **job.options).start_session()
        elif job.form:
            _write_formed(job, _constrained(generator, job.form))
        else:
            _write(job, generator)


def _constrained(generator: "TextGenerator", form: Mapping[str, Any]) -> "ConstrainedGenerator":
    from llmbuilder.inference import ConstrainedGenerator

    texts = {
        name: value.read_text("utf-8", "replace") for name, value in form.items() if isinstance(value, Path)
    }
    return ConstrainedGenerator(generator, **{**form, **texts})


def _write(job: Job, generator: "TextGenerator") -> None:
    prompt = job.prompt or ""
    if job.as_json:
        _tell_completions(job, generator.complete(prompt, **job.options))
    elif job.verbose:
        completion, pieces = generator.running(prompt, **job.options)
        _print_stream(pieces)
        if (found := completion()) is not None:
            tell(found.statistics, err=True)
    else:
        _print_stream(generator.pieces(prompt, **job.options))


def _write_formed(job: Job, generator: "ConstrainedGenerator") -> None:
    """As `_write`; the text comes at once where only its end tells whether it has its form."""
    prompt = job.prompt or ""
    if job.as_json or job.verbose or job.options.keys() & _AT_THE_END:
        _tell_completions(job, generator.complete(prompt, **job.options))
    else:
        _print_stream(generator.stream(prompt, **job.options))


def _tell_completions(job: Job, completions: Iterable["Completion"]) -> None:
    for completion in completions:
        if job.as_json:
            tell_json(_to_json(completion))
        else:
            _print_stream([completion.text])
        if job.verbose:
            tell(completion.statistics, err=True)


def _read_prompt(prompt: str | None) -> str:
    """The prompt given, or all of stdin without its last line break, as a shell's ``$(...)`` would pass it."""
    from llmbuilder.checks import check_text
    from llmbuilder.errors import ConfigError

    if prompt is None and sys.stdin.isatty():
        raise typer.BadParameter("Give a prompt with -p TEXT, or pipe one in.", param_hint="--prompt")
    if prompt is None or prompt == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n")
        if not prompt:
            raise typer.BadParameter(
                "Nothing came through the pipe. Pipe a prompt in or give one with -p TEXT; with -p '' a text begins "
                "from nothing.",
                param_hint="--prompt",
            )
    try:
        return check_text("The prompt", prompt)
    except ConfigError as error:  # Python marks bytes that it cannot decode as halves of characters
        raise typer.BadParameter(
            "The prompt is not valid UTF-8. Convert it first, such as with iconv.", param_hint="--prompt"
        ) from error


def _print_stream(pieces: Iterable[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    tell("")


def _to_json(completion: "Completion") -> str:
    fields = asdict(completion) | {"new_tokens": len(completion.token_ids)}
    if fields["logprobs"] is None:
        del fields["logprobs"]
    return json.dumps(fields, ensure_ascii=False)
