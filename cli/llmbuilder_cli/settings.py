"""What holds unless a command line says otherwise: environment variables, and after them one file of the user's.

After the file come the bundle's own options. Nothing is ever read from the working directory.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

VARIABLES = {"model": "LLMB_MODEL", "threads": "LLMB_THREADS", "device": "LLMB_DEVICE"}
"""The environment variable of each setting."""
FILE_VARIABLE = "LLMB_CONFIG"
"""Names another file in place of the user's."""
_TABLE = "generation"
_EXAMPLE = 'Write such as: model = "~/models/model-onnx".'


class Value(NamedTuple):
    """A setting, and where it is from."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class UserFile:
    """What stands in the user's file: some of the settings, and options of `GenerationConfig`."""

    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)


def user_file() -> Path:
    """Where the user's file is, if there is one: ``~/.config/llmbuilder/config.toml`` on Linux."""
    if named := os.environ.get(FILE_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("llmbuilder")) / "config.toml"


@functools.cache
def read_user_file() -> UserFile:
    """What stands in the user's file; nothing if there is none. A run reads it once.

    Raises:
        ConfigError: a file that is named but not there, that is no TOML, or holds what it cannot; by its key.
    """
    from llmbuilder.errors import ConfigError

    path = user_file()
    is_named = bool(os.environ.get(FILE_VARIABLE))
    if not (is_named or path.is_absolute()) or not path.is_file():
        if is_named:
            raise ConfigError(
                f"{FILE_VARIABLE} names {path}, where there is no file. Correct or unset the variable."
            )
        return UserFile(path)
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}. Correct it there.") from error
    generation = content.pop(_TABLE, {})
    for name, value in content.items():
        _check_setting(path, name, value)
    _check_generation(path, generation)
    return UserFile(path, content, generation)


def setting(name: str) -> Value:
    """What a setting is where no flag says it; None where nothing does."""
    variable = VARIABLES[name]
    if said := os.environ.get(variable):
        return Value(_number(said, variable) if name == "threads" else said, variable)
    file = read_user_file()
    if name in file.settings:
        return Value(file.settings[name], str(file.path))
    return Value(None, "")


def default_model() -> Path | None:
    """The model of a command that names none."""
    value = setting("model").value
    return None if value is None else Path(value).expanduser()


def default_device() -> str:
    """Where to run, if neither a flag nor the environment says it."""
    return str(read_user_file().settings.get("device", "auto"))


def default_threads() -> int | None:
    """The number of threads, if neither a flag nor the environment says it."""
    threads: int | None = read_user_file().settings.get("threads")
    return threads


def _number(text: str, variable: str) -> int:
    from llmbuilder.errors import ConfigError

    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(
            f"{variable} must be a whole number, got {text!r:.40}. Correct or unset it."
        ) from error


def _check_setting(path: Path, name: str, value: Any) -> None:
    from llmbuilder.checks import nearest, shown
    from llmbuilder.engine.session import check_execution
    from llmbuilder.errors import ConfigError

    known = [*VARIABLES, _TABLE]
    if name not in VARIABLES:
        advice = nearest(name, known) or f"There are {', '.join(known)}."
        raise ConfigError(f"{path}: unknown key {shown(name)}. {advice}")
    if name == "model":
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{path}: model must be a path, got {shown(value)}. {_EXAMPLE}")
        if not Path(value).expanduser().is_absolute():
            raise ConfigError(
                f"{path}: model must be a whole path, or one that begins with ~, got {shown(value)}: "
                f"it would be another model in every folder. {_EXAMPLE}"
            )
        return
    try:
        check_execution(**({"device": "auto", "threads": None} | {name: value}))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check_generation(path: Path, options: Any) -> None:
    from llmbuilder.checks import nearest, shown
    from llmbuilder.config import generation_options, greedy_at_zero
    from llmbuilder.errors import ConfigError

    if not isinstance(options, dict):
        raise ConfigError(
            f"{path}: {_TABLE} must be a table, got {shown(options)}. Write [{_TABLE}], below it top_k = 40."
        )
    if not options:
        return
    known = generation_options()
    for name, value in greedy_at_zero(options).items():
        if name not in known:
            advice = nearest(name, known) or "`llmb config` lists all there are."
            raise ConfigError(f"{path}: unknown key {shown(f'{_TABLE}.{name}')}. {advice}")
        known[name].read(value, f"{path}: {_TABLE}.")
