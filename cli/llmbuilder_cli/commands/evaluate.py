"""``llmb evaluate``: measure the quality of text."""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmbuilder_cli.options import Device, Threads, Tokenizer
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmbuilder.quality.evaluate import Evaluation

_NOT_JUDGED = "-"
_EXAMPLE = 'A line is such as {"text": "...", "prompt": "..."}.'


def evaluate(
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="TEXT",
            help="Text file, or .jsonl with `text` and maybe `prompt` and `reference`; - or none: stdin, either.",
        ),
    ] = None,
    *,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="What the text continues.")] = None,
    reference: Annotated[Path | None, typer.Option(help="File with what the text should be like.")] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Bundle to judge with; none: by statistics of English."),
    ] = None,
    tokenizer: Tokenizer = None,
    device: Device,
    threads: Threads,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")] = False,
) -> None:
    """Measure coherence, fluency, relevance, diversity and repetition, each 0 to 1."""
    from llmbuilder.showing import counted

    rows = _rows(text)
    doing = "Measuring" if model is None else f"Loading {model}, then measuring"
    with said(f"{doing} {counted(len(rows), 'text')}", always=model is not None):
        from llmbuilder.checks import check_text
        from llmbuilder.quality.evaluate import evaluate_generation

        common = {} if prompt is None else {"prompt": check_text("--prompt", prompt)}
        if reference is not None:
            common["reference"] = reference.read_text(encoding="utf-8", errors="replace")
        texts = {place: common | row for place, row in rows.items()}
        failures = {place: failure for place, row in texts.items() if (failure := _failure(row)) is not None}
        good = [row for place, row in texts.items() if place not in failures]
        evaluations = (
            []
            if not good
            else evaluate_generation(
                [row["text"] for row in good],
                [row.get("reference") for row in good],
                [row.get("prompt") for row in good],
                model,
                tokenizer,
                device=device,
                threads=threads,
            )
        )
    found = iter(evaluations)
    results = [failures.get(place) or next(found) for place in texts]
    for line in map(_to_json, results) if as_json else _table(evaluations):
        tell(line)
    for place, failure in failures.items():
        tell(f"{place}: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


def _failure(row: "Mapping[str, str]") -> str | None:
    """Why a text cannot be measured, if it cannot."""
    from llmbuilder.checks import check_text
    from llmbuilder.errors import ConfigError
    from llmbuilder.quality.evaluate import check_lengths

    try:
        for name, value in row.items():
            check_text(f"`{name}`", value)
        check_lengths(row["text"], row.get("reference"), row.get("prompt"))
    except ConfigError as error:
        return str(error)
    return None


def _rows(path: Path | None) -> dict[str, dict[str, str]]:
    """Texts with what belongs to each, by the place where they stand."""
    if path is None or str(path) == "-":
        if sys.stdin.isatty():
            raise typer.BadParameter("Give a file, or pipe a text in.", param_hint="TEXT")
        content, source = sys.stdin.buffer.read().decode("utf-8", "replace"), "Standard input"
        are_lines = _is_object(content.lstrip().partition("\n")[0])
    else:
        content, source = path.read_text(encoding="utf-8", errors="replace"), str(path)
        are_lines = path.suffix == ".jsonl"
    return _rows_of_lines(content, source) if are_lines else {source: {"text": content}}


def _is_object(line: str) -> bool:
    """Whether a line is one of JSON lines: a whole object, which no prose begins with."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _rows_of_lines(content: str, source: str) -> dict[str, dict[str, str]]:
    # Only line feeds end lines: JSON may hold all other characters that Python takes for line breaks.
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    places = {f"{source}, line {number}": line for number, line in lines}
    rows = {place: row for place, line in places.items() if (row := _row(line, place)) is not None}
    if len(rows) < len(lines):
        failed = f"{len(lines) - len(rows)} of {len(lines)} lines"
        tell(f"Left out: {failed}, which have an error in place of a text.", err=True)
    if not rows:
        raise typer.BadParameter(f"{source} has no texts. {_EXAMPLE}", param_hint="TEXT")
    return rows


def _row(line: str, place: str) -> dict[str, str] | None:
    """A text with what belongs to it; None for a prompt of `llmb generate batch` that failed."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{place} is not JSON: {error}. {_EXAMPLE}", param_hint="TEXT") from error
    if isinstance(row, dict) and "error" in row and "text" not in row:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise typer.BadParameter(f"{place} has no string `text`. {_EXAMPLE}", param_hint="TEXT")
    row = {name: row[name] for name in ("text", "prompt", "reference") if row.get(name) is not None}
    if wrong := [name for name, value in row.items() if not isinstance(value, str)]:
        raise typer.BadParameter(f"{place}: `{wrong[0]}` is not a string. {_EXAMPLE}", param_hint="TEXT")
    return row


def _to_json(evaluation: "Evaluation | str") -> str:
    """What was found of a text, or why nothing could be."""
    if isinstance(evaluation, str):
        return json.dumps({"error": evaluation})
    values = asdict(evaluation) | {"quality": evaluation.quality}
    return json.dumps({name: None if math.isnan(value) else value for name, value in values.items()})


def _table(evaluations: "Sequence[Evaluation]") -> list[str]:
    """A line for each measure of one text, or a line for each text; none without a text."""
    if not evaluations:
        return []
    rows: list[dict[str, float]] = [asdict(each) for each in evaluations]
    names = [name for name in rows[0] if any(not math.isnan(row[name]) for row in rows)]
    if len(rows) == 1:
        return [f"{name:10}  {_number(rows[0][name])}" for name in names]
    widths = [max(len(name), 5) for name in names]
    cells = [names, *([_number(row[name]) for name in names] for row in rows)]
    return ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells]


def _number(value: float) -> str:
    return _NOT_JUDGED if math.isnan(value) else f"{value:.3f}"
