"""``llmb config``: what holds for every command, and where each value is from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from llmbuilder_cli import settings
from llmbuilder_cli.options import Model, NamedModel, named_once
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell, tell_json
from llmbuilder_cli.settings import Value

_BUILT_IN = "built in"


def config(
    model: Model = None,
    *,
    named: NamedModel = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Show what holds where a command says nothing, and where each value is from.

    A flag comes before the environment (LLMB_MODEL, LLMB_THREADS, LLMB_DEVICE), that before your file, and your file
    before the bundle's own options, which are not known without a model.
    """
    chosen = named_once(model, named)
    file = settings.read_user_file()
    is_said = model is not None or named is not None
    with said("Reading what holds"):
        own = {} if chosen is None else _own_options(chosen)
        values = dict(_settings()) | ({"model": Value(str(chosen), "command line")} if is_said else {})
        generation = dict(_generation(own, file.generation, str(file.path)))
    if as_json:
        content = {
            "file": str(file.path),
            "file_exists": file.path.is_file(),
            "settings": {name: value._asdict() for name, value in values.items()},
            "generation": {name: value._asdict() for name, value in generation.items()},
        }
        tell_json(json.dumps(content, ensure_ascii=False))
        return
    tell(f"your file: {file.path}{'' if file.path.is_file() else ' (there is none)'}\n")
    rows = [(name, _written(value.value), value.origin) for name, value in (values | generation).items()]
    names, shown = (max(len(row[column]) for row in rows) for column in (0, 1))
    tell("\n".join(f"{name:{names}}  {value:{shown}}  {origin}" for name, value, origin in rows))


def _settings() -> Iterator[tuple[str, Value]]:
    for name in settings.VARIABLES:
        value = settings.setting(name)
        default = "auto" if name == "device" else None
        yield name, value if value.origin else Value(default, _BUILT_IN)


def _generation(own: Mapping[str, Any], users: Mapping[str, Any], file: str) -> Iterator[tuple[str, Value]]:
    """Every generation option: the user's, else the bundle's ``own``, else as it is built in."""
    from llmbuilder.config import generation_options, greedy_at_zero

    said = greedy_at_zero(users)
    for name, option in generation_options().items():
        if name in said:
            yield name, Value(said[name], file)
        elif name in own:
            yield name, Value(own[name], "bundle")
        else:
            yield name, Value(option.default, _BUILT_IN)


def _own_options(model: Path) -> Mapping[str, Any]:
    """The options that a bundle, or the one beside a checkpoint, brings along."""
    from llmbuilder.bundle.manifest import MANIFEST_NAME
    from llmbuilder.bundle.opening import is_bundle
    from llmbuilder.bundle.reading import read_manifest
    from llmbuilder.bundle.resolve import default_output, model_in

    found = model_in(model)
    bundle = default_output(found) if found.is_file() else found
    if not is_bundle(bundle):
        tell(f"There is no bundle at {model}: its own options are not known.", err=True)
        return {}
    return read_manifest(bundle / MANIFEST_NAME).generation


def _written(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
