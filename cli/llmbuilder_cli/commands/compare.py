"""``llmb compare``: which settings write better."""

import json
import math
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbuilder_cli.options import (
    Assignments,
    Device,
    Model,
    Threads,
    Tokenizer,
    parse_assignments,
    require_model,
)
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell, tell_json

if TYPE_CHECKING:
    from llmbuilder.quality.compare import Comparison


_COMMON_NAMES = {"bundle", "model", "model-onnx", "model.pt"}


def compare(
    model: Model = None,
    *,
    tokenizer: Tokenizer = None,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What all samples continue.")],
    config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,...", help="One configuration; repeat for each, '' for the defaults."
        ),
    ] = None,
    configs: Annotated[
        Path | None,
        typer.Option(help="JSON list of configurations, or TOML with a [[config]] table for each."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Texts of each configuration.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    set_: Assignments = None,
    html: Annotated[Path | None, typer.Option(help="Write plots and all samples to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    device: Device,
    threads: Threads,
) -> None:
    """Write samples with several configurations and say which differences are more than chance."""
    model = require_model(model)
    with said("Reading the configurations"):
        options = [_parse(text) for text in config or ()] + (_read(configs) if configs else [])
    if not options:
        raise typer.BadParameter(
            "Give at least one, such as --config temperature=0.7.", param_hint="--config"
        )

    if html is not None:
        _check_writable(html)

    from llmbuilder.cleanup import replace_file, writing
    from llmbuilder.config import greedy_at_zero
    from llmbuilder.showing import counted

    todo = f"{counted(samples, 'text')} with each of {counted(len(options), 'configuration')}"
    with said(f"Loading {model}, then writing {todo}", always=True):
        from llmbuilder.quality.compare import compare_generations
        from llmbuilder.quality.html import to_html

        comparison = compare_generations(
            model,
            tokenizer,
            prompt,
            options,
            samples,
            seed=seed,
            device=device,
            threads=threads,
            **greedy_at_zero(parse_assignments(set_)),
        )
    if as_json:
        tell_json(_to_json(comparison))
    else:
        _print(comparison)
    if html is not None:
        with writing(html):
            now = datetime.now().astimezone()
            page = to_html(comparison, prompt, model=_name(model), seed=seed, date=now)
            replace_file(html, page)
        tell(f"Plots and samples: {html}", err=True)


def _name(model: Path) -> str:
    """What a model is called in a report: its folder's name, after that of the folder around it if many have it."""
    *_, around, name = model.resolve().parts
    return f"{around}/{name}" if name in _COMMON_NAMES else name


def _check_writable(path: Path) -> None:
    """Refuse a page that cannot be written before anything is computed for it."""
    there = path.resolve()
    fits = not there.is_dir() and there.parent.is_dir()
    written = [there] if there.exists() else []
    if not there.exists() or there.is_file():  # a new page takes the place of an old one
        written.append(there.parent)
    if not fits or not all(os.access(place, os.W_OK) for place in written):
        raise typer.BadParameter(
            f"{path} cannot be written. Name a file in a folder of yours.", param_hint="--html"
        )


def _parse(text: str) -> dict[str, Any]:
    """``"temperature=0.3, top_k=40"`` -> the options; a comma inside a value needs a file."""
    from llmbuilder.config import greedy_at_zero

    return greedy_at_zero(parse_assignments([part.strip() for part in text.split(",") if part.strip()]))


def _read(path: Path) -> list[dict[str, Any]]:
    """Configurations of a file."""
    import tomllib

    from llmbuilder.config import greedy_at_zero

    try:
        content = path.read_text(encoding="utf-8")
        configs = tomllib.loads(content).get("config") if path.suffix == ".toml" else json.loads(content)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f"{path} cannot be read: {error}. Correct it there.", param_hint="--configs"
        ) from error
    if not isinstance(configs, list) or not all(isinstance(options, dict) for options in configs):
        raise typer.BadParameter(
            f'{path} has no list of configurations. Write [{{"temperature": 0.3}}, ...], or [[config]] in TOML.',
            param_hint="--configs",
        )
    return [greedy_at_zero(options) for options in configs]


def _print(comparison: "Comparison") -> None:
    """The table, then a line for each pair of configurations."""
    from rich.console import Console
    from rich.table import Table

    from llmbuilder.quality.naming import name_of

    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("configuration", overflow="fold")
    for name in ("quality", "95 %", "spread", "diversity", "tokens", "tokens/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, result in enumerate(comparison, 1):
        low, high = result.quality_interval
        table.add_row(
            str(number),
            name_of(result.config.options()),
            f"{result.avg_quality:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{result.quality_spread:.3f}",
            f"{result.avg_diversity:.3f}",
            f"{result.avg_tokens:.0f}",
            f"{result.tokens_per_second:.0f}",
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    for verdict in comparison.verdicts:
        console.print(str(verdict))


def _to_json(comparison: "Comparison") -> str:
    results = [
        {
            "config": result.config.options(),
            "avg_quality": _finite(result.avg_quality),
            "quality_spread": result.quality_spread,
            "quality_interval": [_finite(bound) for bound in result.quality_interval],
            "avg_diversity": result.avg_diversity,
            "avg_tokens": result.avg_tokens,
            "tokens_per_second": result.tokens_per_second,
            "samples": [{"text": s.text, "quality": _finite(s.quality)} for s in result.samples],
        }
        for result in comparison
    ]
    verdicts = [
        {
            "first": verdict.first + 1,
            "second": verdict.second + 1,
            "quality_difference": _finite(verdict.quality_difference),
            "quality_p": verdict.quality_p,
            "diversity_difference": verdict.diversity_difference,
            "diversity_p": verdict.diversity_p,
            "differs": verdict.differs,
        }
        for verdict in comparison.verdicts
    ]
    return json.dumps({"results": results, "verdicts": verdicts}, ensure_ascii=False, default=list)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
