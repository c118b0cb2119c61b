"""``llmb chat``: talk with a model."""

from pathlib import Path
from typing import Annotated

import typer

from llmbuilder_cli.options import (
    Assignments,
    Device,
    Greedy,
    MaxTokens,
    MinP,
    Model,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    Threads,
    Tokenizer,
    TopK,
    TopP,
    given_options,
)


def chat(
    *,
    model: Model,
    tokenizer: Tokenizer = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="What the model is told before the conversation.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with a conversation that /save wrote.")
    ] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    stop: Stop = None,
    greedy: Greedy = False,
    seed: Seed = None,
    set_: Assignments = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Talk with a model: in the form of its chat template, or in plain lines if it has none."""
    options = given_options(
        set_,
        max_tokens=max_tokens,
        greedy=greedy,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop_strings=stop,
        seed=seed,
    )

    from llmbuilder.inference import ChatInterface, TextGenerator

    generator = TextGenerator(model, tokenizer, device=device, threads=threads)
    with generator, ChatInterface.from_generator(generator, system, **options) as interface:
        interface.start(load)
