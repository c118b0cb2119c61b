"""What ``llmb generate text`` computes and prints: a stream, or texts that come when they are whole."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from llmbuilder_cli.forms import constrained
from llmbuilder_cli.job import Job
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell, tell_json

if TYPE_CHECKING:
    from llmbuilder.inference import Completion, ConstrainedGenerator, TextGenerator

_AT_THE_END = {"num_beams", "stop_strings", "max_time"}
"""Options with which it is known only at the end whether a text has its form."""


def answer(job: Job) -> None:
    """Do the job.

    Raises:
        typer.Exit: with code 1 if a filter has refused a text.
    """
    assert job.model is not None  # noqa: S101 (given, or asked for)
    with said(f"Loading {job.model}"):
        from llmbuilder.inference import InteractiveGenerator, TextGenerator

        generator = TextGenerator(job.model, job.tokenizer, device=job.device, threads=job.threads)
    passed = True
    with generator:
        if job.interactive:
            InteractiveGenerator(generator, **job.options).start_session(gate=job.gate)
        elif job.writing:
            passed = _tell_one(job, _written(job, generator))
        elif job.form:
            passed = _write_formed(job, constrained(generator, job.form))
        else:
            passed = _write(job, generator)
    if not passed:
        raise typer.Exit(1)


def _written(job: Job, generator: "TextGenerator") -> dict[str, Any]:
    from llmbuilder_cli.writing import open_writer, written

    with said("Writing"), open_writer(generator, job.writing, job.options) as writer:
        return {"text": written(writer, job.writing, job.prompt or "")}


def _write(job: Job, generator: "TextGenerator") -> bool:
    """Print what is generated; return whether all of it passed the filter."""
    prompt = job.prompt or ""
    if job.as_json or job.filter:
        return _complete(job, generator)
    if job.verbose:
        completion, pieces = generator.running(prompt, **job.options)
        print_stream(pieces)
        if (found := completion()) is not None:
            tell(found.statistics, err=True)
    else:
        print_stream(generator.pieces(prompt, **job.options))
    return True


def _write_formed(job: Job, generator: "ConstrainedGenerator") -> bool:
    """As `_write`; the text comes at once where only its end tells whether it has its form."""
    if job.as_json or job.verbose or job.filter or job.options.keys() & _AT_THE_END:
        return _complete(job, generator)
    print_stream(generator.stream(job.prompt or "", **job.options))
    return True


def _complete(job: Job, generator: "TextGenerator | ConstrainedGenerator") -> bool:
    """Print texts when they are whole; return whether all passed the filter."""
    with said("Writing"):
        completions = generator.complete(job.prompt or "", **job.options)
    all_passed = True
    for completion in completions:
        all_passed &= _tell_one(job, _fields(completion))
        if job.verbose:
            tell(completion.statistics, err=True)
    return all_passed


def _fields(completion: "Completion") -> dict[str, Any]:
    fields = asdict(completion) | {"new_tokens": len(completion.token_ids)}
    if fields["logprobs"] is None:
        del fields["logprobs"]
    return fields


def _tell_one(job: Job, fields: Mapping[str, Any]) -> bool:
    """Print a text, or why it was refused; return whether it passed."""
    if job.gate is not None:
        from llmbuilder.errors import ConstraintError

        try:
            text = job.gate.let_through(fields["text"], job.prompt or "")
        except ConstraintError as error:
            _tell_refusal(job, str(error))
            return False
        if text != fields["text"]:  # what would spell out what is masked goes
            fields = {key: value for key, value in fields.items() if key not in ("token_ids", "logprobs")}
            fields["text"] = text
    if job.as_json:
        tell_json(json.dumps(fields, ensure_ascii=False))
    else:
        print_stream([fields["text"]])
    return True


def _tell_refusal(job: Job, why: str) -> None:
    if job.as_json:
        tell_json(json.dumps({"error": why}, ensure_ascii=False))
    else:
        tell(f"Error: {why}", err=True)


def print_stream(pieces: Iterable[str]) -> None:
    """Print text as it comes, and a line break."""
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    tell("")
