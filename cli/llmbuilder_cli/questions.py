"""``llmb generate text --setup``: questions whose answers make a command."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmbuilder_cli.job import Job

if TYPE_CHECKING:
    from llmbuilder.sessions.terminal import Terminal

_MODES = {"text": False, "interactive": True}
_QUESTIONS = {
    "max_new_tokens": "Most tokens to generate",
    "temperature": "Temperature (below 1 is more focused, above more varied)",
    "top_k": "Likeliest tokens to choose among, 0 for all",
    "top_p": "Probability mass to choose among",
    "repetition_penalty": "Repetition penalty, 1 for none",
    "seed": "Seed, none for another text each time",
}


def ask(job: Job) -> Job:
    """Ask for everything, with what ``job`` has as the answers of an empty line; end by showing the command."""
    from llmbuilder.sessions.terminal import open_terminal

    terminal = open_terminal()
    terminal.note("An empty answer takes what stands in brackets. Ctrl-C leaves.")
    model = Path(_ask(terminal, "Model", _bundle_or_checkpoint, job.model or _usual_model()))
    tokenizer = _ask(terminal, "Tokenizer, if not the model's own", _tokenizer_or_none, job.tokenizer)
    mode = _ask(terminal, "Mode: text or interactive", _mode, "interactive" if job.interactive else "text")
    job = replace(
        job, model=model, tokenizer=Path(tokenizer) if tokenizer else None, interactive=_MODES[mode]
    )
    if job.interactive:
        job = replace(job, as_json=False, form={})
    else:
        job = replace(job, prompt=_ask(terminal, "Prompt", _text_or_none, job.prompt))
    job = replace(job, options=job.options | _ask_settings(terminal, _own_defaults(model), job.options))
    terminal.note(f"The same without questions:\n{job.command()}")
    return job


def _own_defaults(model: Path) -> Mapping[str, Any]:
    """The options that a bundle brings with it."""
    from llmbuilder.bundle.manifest import MANIFEST_NAME
    from llmbuilder.bundle.reading import read_manifest

    return read_manifest(model / MANIFEST_NAME).generation if model.is_dir() else {}


def _ask_settings(
    terminal: "Terminal", own_defaults: Mapping[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """The settings that differ from what is given or, without that, from the model's own defaults."""
    from llmbuilder.config import GenerationConfig, greedy_at_zero
    from llmbuilder.sessions.values import parse_value

    defaults = GenerationConfig.merge(own_defaults, given)
    changed = {}
    for name, question in _QUESTIONS.items():
        default = getattr(defaults, name)

        def check(answer: str, name: str = name) -> str:
            GenerationConfig.merge(own_defaults, given, greedy_at_zero({name: parse_value(answer)}))
            return answer

        value = parse_value(_ask(terminal, question, check, "none" if default is None else default))
        if value != default:
            changed[name] = value
    return greedy_at_zero(changed)


def _ask(terminal: "Terminal", question: str, check: Callable[[str], str], default: object) -> str:
    """An answer that passes ``check``, which raises ValueError with what is wrong."""
    shown = "" if default in (None, "") else f" [{default}]"
    while True:
        answer = terminal.read(f"{question}{shown}: ", "" if default is None else str(default))
        if answer is None:
            raise typer.BadParameter(
                "The input ended before everything was answered. Answer at a terminal, or give the options themselves.",
                param_hint="--setup",
            )
        try:
            return check(answer.strip())
        except ValueError as error:
            terminal.note(str(error))


def _usual_model() -> Path | None:
    """Where LLMBuilder's guide has the model."""
    path = Path("model") / "model.pt"
    return path if path.exists() else None


def _bundle_or_checkpoint(answer: str) -> str:
    from llmbuilder.bundle.opening import is_bundle
    from llmbuilder.bundle.resolve import model_in

    path = model_in(Path(answer).expanduser()) if answer else Path()
    if not answer or not path.exists():
        raise ValueError(f"There is nothing at {answer or 'that path'}.")
    if path.is_dir() and not is_bundle(path):
        raise ValueError(
            f"{path} is no bundle. Name the directory that `llmb export` wrote, or the checkpoint."
        )
    if path.is_file() and not _looks_like_checkpoint(path):
        raise ValueError(
            f"{path} is no checkpoint. Name a model.pt, or the directory that `llmb export` wrote."
        )
    return str(path)


def _looks_like_checkpoint(path: Path) -> bool:
    """Whether torch may have saved it: an archive, or in its older format a pickle."""
    import zipfile

    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _tokenizer_or_none(answer: str) -> str:
    path = Path(answer).expanduser()
    if answer and not path.exists():
        raise ValueError(f"There is nothing at {path}.")
    if path.is_dir() and answer and not any((*path.glob("*.model"), *path.glob("tokenizer.json"))):
        raise ValueError(f"There is neither a *.model nor a tokenizer.json in {path}.")
    return str(path) if answer else ""


def _mode(answer: str) -> str:
    matching = [mode for mode in _MODES if answer and mode.startswith(answer.lower())]
    if len(matching) != 1:
        raise ValueError(f"Answer {' or '.join(_MODES)}.")
    return matching[0]


def _text_or_none(answer: str) -> str:
    if not answer:
        raise ValueError("Give a text to continue, or none to begin from nothing.")
    return "" if answer.lower() == "none" else answer
