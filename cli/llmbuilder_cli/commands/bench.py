"""``llmb bench``: how fast a bundle is on this machine, and what it takes."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbuilder_cli.options import Device, Model, Threads, require_model
from llmbuilder_cli.progress import LiveLine, said
from llmbuilder_cli.report import tell, tell_json

if TYPE_CHECKING:
    from llmbuilder.benchmark import Benchmark, RowsReport

MEANING = {
    "prefill/s": "tokens of prompts that the model computes in a second, one prompt after the other",
    "first ms": "from the call until every row has its first token",
    "tokens/s": "new tokens of all rows together in a second, after the first of each, choosing and text included",
    "step ms": "the same for one token of every row",
    "outside": "part of a step that is not the model's: choosing, text, the loop",
}
"""Columns of the table, and what a number in each says."""


def bench(
    model: Model = None,
    *,
    rows: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of prompts continued at once, each measured.")
    ] = "1,8",
    prompt_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of each prompt; as many as the window holds.")
    ] = 512,
    new_tokens: Annotated[
        int, typer.Option(min=2, help="New tokens of each row; at most half of the window.")
    ] = 64,
    repeat: Annotated[
        int, typer.Option(min=1, help="Runs of each; the first, not counted, comes on top.")
    ] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    device: Device,
    threads: Threads,
    no_deterministic: Annotated[
        bool,
        typer.Option(
            "--no-deterministic", help="On a card: faster attention, whose texts may differ between runs."
        ),
    ] = False,
) -> None:
    """Measure a bundle on this machine: loading, prompts, first token, tokens a second, memory."""
    counts = _parse_rows(rows)
    model = require_model(model)

    with said(f"Loading {model}"):
        from llmbuilder.benchmark import Plan, run_benchmark

    plan = Plan(rows=counts, prompt_tokens=prompt_tokens, new_tokens=new_tokens, repeat=repeat)
    with LiveLine() as line:
        result = run_benchmark(
            model,
            plan,
            device=device,
            threads=threads,
            deterministic=not no_deterministic,
            progress=line.say,
        )
    if as_json:
        tell_json(json.dumps(to_json(result)))
    else:
        tell("\n".join([*_heading(model, result), "", *_table(result.rows), "", *_legend()]))


def _parse_rows(text: str) -> list[int]:
    """``"1,8"`` -> ``[1, 8]``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a list of whole numbers. Write it like 1,8.", param_hint="--rows"
        ) from error


def to_json(result: "Benchmark") -> dict[str, Any]:
    """Everything measured; of each number that was measured several times every value, in seconds."""
    return {
        "device": result.device,
        "card": None if result.card is None else asdict(result.card),
        "deterministic": result.deterministic,
        "processor": result.processor,
        "threads": result.threads,
        "runtime": result.runtime,
        "quantization": result.quantization,
        "bundle_bytes": result.bundle_bytes,
        "window": result.window,
        "prompt_tokens": result.plan.prompt_tokens,
        "new_tokens": result.plan.new_tokens,
        "load_seconds": result.load_seconds,
        "peak_bytes": result.peak_bytes,
        "rows": [
            {
                "rows": report.rows,
                "prefill_tokens_per_second": report.prefill_tokens_per_second,
                "first_token_seconds": report.first_token_seconds,
                "tokens_per_second": report.tokens_per_second,
                "step_seconds": report.step_seconds,
                "outside_share": report.outside_share,
            }
            for report in result.rows
        ],
    }


def _heading(model: Path, result: "Benchmark") -> list[str]:
    """What was measured, on what, and what there is one number of."""
    plan = result.plan
    asked = f"prompts of {plan.prompt_tokens:,} tokens, {plan.new_tokens:,} new tokens, greedy"
    facts = {
        "bundle": f"{model}, {result.quantization}, {_megabytes(result.bundle_bytes)}, window {result.window:,}",
        "runs on": _place(result),
        "measured": f"{asked}; median of {plan.repeat} runs, +- half of their range",
        "loading": f"{result.load_seconds:.2f} s, files checked",
        "memory": _memory(result),
    }
    width = max(map(len, facts))
    return [f"{name:{width}}  {value}" for name, value in facts.items()]


def _place(result: "Benchmark") -> str:
    from llmbuilder.showing import counted

    parts = [f"{result.device}: {result.processor}, {counted(result.threads, 'thread')}"]
    if result.card is not None:
        kind = "deterministic" if result.deterministic else "not deterministic"
        parts = [f"{result.device}: {result.card.name}, {kind}, driver {result.card.driver or 'unknown'}"]
    return ", ".join([*parts, result.runtime])


def _memory(result: "Benchmark") -> str:
    peak = "not known" if result.peak_bytes is None else f"{_megabytes(result.peak_bytes)} at its peak"
    if result.card is None:
        return f"{peak}, the whole process"
    used = result.card.total_bytes - result.card.free_bytes
    total = _megabytes(result.card.total_bytes)
    return f"{_megabytes(used)} of {total} on the card in use, by all programs; the process {peak}"


def _table(reports: Sequence["RowsReport"]) -> list[str]:
    """A line for each number of rows, under the columns' names."""
    lines = [["rows", *MEANING], *(_cells(report) for report in reports)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _cells(report: "RowsReport") -> list[str]:
    return [
        str(report.rows),
        _with_spread(report.prefill_tokens_per_second),
        _with_spread(report.first_token_seconds, 1000),
        _with_spread(report.tokens_per_second),
        _with_spread(report.step_seconds, 1000),
        f"{_median(report.outside_share):.0%}",
    ]


def _median(values: Sequence[float]) -> float:
    from llmbuilder.benchmark import spread

    return spread(values)[0]


def _with_spread(values: Sequence[float], scale: float = 1) -> str:
    """``1,234 +-2%``."""
    from llmbuilder.benchmark import spread

    middle, part = spread(values)
    middle *= scale
    number = f"{middle:,.0f}" if middle >= 100 else f"{middle:#.3g}"
    return f"{number} +-{part:.0%}"


def _legend() -> list[str]:
    width = max(map(len, MEANING))
    return [f"{name:{width}}  {meaning}" for name, meaning in MEANING.items()]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
