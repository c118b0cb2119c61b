"""``llmb generate text``: continue a prompt on stdout."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbuilder_cli.commands.batch import batch
from llmbuilder_cli.options import Assignments, Device, Model, Threads, Tokenizer, parse_assignments

if TYPE_CHECKING:
    from llmbuilder.inference import Completion, TextGenerator

app = typer.Typer(no_args_is_help=True, help="Generate text.")
app.command("batch")(batch)


@app.command()
def text(
    *,
    model: Model,
    tokenizer: Tokenizer = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Text to continue; - or nothing: read from stdin.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 sharpens the distribution.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens; 0: all.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Keep the likeliest tokens of this probability mass.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens below this share of the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 makes used tokens less likely.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End at this text; may be repeated.")
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take the likeliest token instead of sampling.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None,
    set_: Assignments = None,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object for each completion instead of streaming text."),
    ] = False,
) -> None:
    """Continue a prompt. The text streams to stdout as it is generated."""
    given: dict[str, Any] = {
        "max_new_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop_strings": stop,
        "do_sample": False if greedy else None,
        "seed": seed,
    }
    options = {name: value for name, value in given.items() if value is not None}
    options |= parse_assignments(set_)
    prompt = _read_prompt(prompt)

    from llmbuilder.inference import TextGenerator

    with TextGenerator(model, tokenizer, device=device, threads=threads) as generator:
        if as_json:
            for completion in generator.complete(prompt, **options):
                typer.echo(_to_json(completion))
        else:
            _print_stream(_pieces(generator, prompt, options))


def _read_prompt(prompt: str | None) -> str:
    """The prompt given, or all of stdin without its last line break, as a shell's ``$(...)`` would pass it."""
    if prompt is None and sys.stdin.isatty():
        raise typer.BadParameter("Give a prompt with -p TEXT, or pipe one in.", param_hint="--prompt")
    if prompt is None or prompt == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n")
    if any(
        "\ud800" <= character <= "\udfff" for character in prompt
    ):  # how Python marks bytes it cannot decode
        raise typer.BadParameter("The prompt is not valid UTF-8.", param_hint="--prompt")
    return prompt


def _pieces(generator: "TextGenerator", prompt: str, options: dict[str, Any]) -> Iterator[str]:
    """The text as it comes; that of a beam search, which is known only at the end, in one piece."""
    if options.get("num_beams", 1) != 1:
        return iter([generator.generate(prompt, **options)])
    return generator.stream(prompt, **options)


def _print_stream(pieces: Iterator[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _to_json(completion: "Completion") -> str:
    fields = asdict(completion) | {"new_tokens": len(completion.token_ids)}
    if fields["logprobs"] is None:
        del fields["logprobs"]
    return json.dumps(fields, ensure_ascii=False)
