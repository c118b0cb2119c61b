"""``llmb demo``: a story, as the first thing that one sees."""

from typing import Annotated

import typer

from llmbuilder_cli.answer import print_stream
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell


def demo(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="How the story begins.")
    ] = "Once upon a time",
    *,
    path: Annotated[bool, typer.Option("--path", help="Print where the demo model is instead.")] = False,
) -> None:
    """Tell a story with the demo model, which comes along."""
    from llmbuilder.demo import demo_model

    if path:
        tell(str(demo_model()))
        return
    with said("Loading the demo model"):
        from llmbuilder.inference import TextGenerator

        generator = TextGenerator(demo_model())
    with generator:
        print_stream(generator.stream(prompt, max_new_tokens=400, return_full_text=True))
