"""``llmb generate text``: continue a prompt on stdout, or prompt after prompt."""

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from llmbuilder_cli.answer import answer
from llmbuilder_cli.filters import FILTERS, read_filter
from llmbuilder_cli.flags import takes
from llmbuilder_cli.forms import FORMS
from llmbuilder_cli.helping import FILTER, FORM, STYLE
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
from llmbuilder_cli.writing import WRITING, check_writing


@takes_generation_options
@takes("filter", FILTERS, FILTER)
@takes("writing", WRITING, STYLE)
@takes("form", FORMS, FORM)
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
    form: dict[str, Any],
    filter: dict[str, Any],  # noqa: A002 (the name of its flags)
    writing: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Continue a prompt. The text streams to stdout as it is generated.

    A filter and a style need the whole text: then it comes at once. Exits with 1 if the filter refuses it.
    """
    if interactive and (as_json or prompt is not None):
        raise typer.BadParameter(
            "A session takes neither --prompt nor --json: leave them out.", param_hint="--interactive"
        )
    model = named_once(model, named)
    whole = {"--interactive": interactive, "--setup": setup, "--verbose": verbose}
    check_writing(writing, options, whole | {FORMS[name].words: value for name, value in form.items()})
    if interactive and form:
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
        filter=filter,
        gate=read_filter(filter),
        writing=writing,
        device=device,
        threads=threads,
    )
    if setup or (model is None and not writing and sys.stdin.isatty()):
        from llmbuilder_cli.questions import ask

        job = ask(job)
    elif model is None:
        raise typer.BadParameter(
            "Name the model, such as in: llmb generate MODEL -p TEXT. Or be asked with --setup.",
            param_hint="MODEL",
        )
    if not job.interactive:
        job = replace(job, prompt=_read_prompt(job.prompt))
    answer(job)


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
