"""``llmb chat``: talk with a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmbuilder_cli.filters import FILTERS, read_filter
from llmbuilder_cli.flags import takes
from llmbuilder_cli.helping import FILTER
from llmbuilder_cli.options import (
    Device,
    Model,
    NamedModel,
    Threads,
    Tokenizer,
    require_model,
    takes_generation_options,
)
from llmbuilder_cli.progress import said


@takes_generation_options
@takes("filter", FILTERS, FILTER)
def chat(
    *,
    model: Model = None,
    named: NamedModel = None,
    tokenizer: Tokenizer = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="What the model is told before the conversation.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with a conversation that /save wrote.")
    ] = None,
    device: Device,
    threads: Threads,
    filter: dict[str, Any],  # noqa: A002 (the name of its flags)
    options: dict[str, Any],
) -> None:
    """Talk with a model: in the form of its chat template, or in plain lines if it has none."""
    model = require_model(model, named)
    gate = read_filter(filter)
    with said(f"Loading {model}"):
        from llmbuilder.inference import ChatInterface, TextGenerator

        generator = TextGenerator(model, tokenizer, device=device, threads=threads)
    with generator, ChatInterface(generator, system_prompt=system, **options) as interface:
        interface.start(load, gate=gate)
