"""``llmb export``: turn a checkpoint into a bundle."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmbuilder_cli.commands.info import measurements
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell

if TYPE_CHECKING:
    from llmbuilder_export import ExportReport


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="LLMBuilder checkpoint (model.pt) or its folder, Hugging Face model directory or GGUF file.",
        ),
    ],
    *,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", "-t", help="Directory or file of the model's tokenizer.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle to write; beside the source if not given.")
    ] = None,
    quantize: Annotated[
        Literal["none", "int8", "int4", "w8a8"] | None,
        typer.Option(
            help="Precision of the weights; int8 for cpu and none for cuda if not given, where fewer bits save "
            "memory, not time. A GGUF file in Q8_0 or Q4_0 keeps its blocks then. w8a8 rounds inputs as well: long "
            "prompts and batches are computed faster, a little less exactly than with int8; cpu only."
        ),
    ] = None,
    kv_cache: Annotated[
        Literal["float32", "int8"],
        typer.Option(
            help="Precision of the KV cache; for cuda float32 means float16. int8, for cpu, takes a quarter of the "
            "memory and is faster at contexts of thousands of tokens; it rounds more."
        ),
    ] = "float32",
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="What the bundle is to run on; cuda computes in float16.")
    ] = "cpu",
    adapter: Annotated[
        Path | None,
        typer.Option(help="Directory of a LoRA adapter (PEFT) that was trained on the source, to be merged."),
    ] = None,
    max_context: Annotated[int | None, typer.Option(help="Shorten the window to this many tokens.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with the model's sizes, for LLMBuilder checkpoints that do not hold them."
        ),
    ] = None,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Compare eight tokens only with PyTorch.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Export a model once; the bundle then runs without torch. Prints the bundle's path.

    Where PyTorch is not installed it runs in the environment that `llmb exporter install` has made.
    """
    from llmbuilder.errors import ModelNotFoundError

    for path in (source, adapter, tokenizer, config):
        if path is not None and not path.exists():
            raise ModelNotFoundError(f"There is nothing at {path}. Check the path.")
    from llmbuilder.signals import end_on

    with said("Looking for PyTorch"):
        elsewhere = _exporter_elsewhere()
    end_on("SIGINT", "SIGTERM", "SIGHUP")
    if elsewhere:
        from llmbuilder.bundle.exporter import run

        raise typer.Exit(run([*elsewhere, "-m", "llmbuilder_cli", *sys.argv[1:]]))
    from llmbuilder.bundle.resolve import checkpoint_in
    from llmbuilder_export import export_model
    from llmbuilder_export.bar import Bar

    tell("loading PyTorch ...", err=True)
    with Bar() as bar:
        report = export_model(
            checkpoint_in(source),
            tokenizer=tokenizer,
            output=output,
            quantization=quantize,
            kv_cache=kv_cache,
            device=device,
            adapter=adapter,
            max_context=max_context,
            verify=not no_verify,
            overwrite=overwrite,
            config=config,
            progress=bar.say,
            advance=bar.advance,
        )
    tell(_summary(report), err=True)
    tell(f"Next: llmb generate {shlex.quote(str(report.path))} -p 'Once upon a time'", err=True)
    tell(str(report.path))


def _exporter_elsewhere() -> list[str]:
    """How to run a module of the exporter's own environment; empty if this environment can export."""
    from llmbuilder.bundle.exporter import can_export, exporter
    from llmbuilder.errors import ExportError

    if can_export():
        return []
    command = exporter()
    if command is None:
        raise ExportError(
            "Exporting needs PyTorch, which is not installed here. Run: llmb exporter install, which gives it an "
            "environment of its own, then this again."
        )
    return command


def _summary(report: "ExportReport") -> str:
    """Sizes, time and the measured difference from PyTorch, a line each."""
    before, after = report.weights_bytes / 1e6, report.bundle_bytes / 1e6
    lines = [
        f"{before:,.1f} MB of float32 weights became {after:,.1f} MB in {sum(report.seconds.values()):.1f} s"
    ]
    lines += [f"{name}: {value}" for name, value in measurements(report.manifest)]
    return "\n".join(lines)
