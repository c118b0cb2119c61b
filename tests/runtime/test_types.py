"""What type checkers say of programs that use the library, and that options have the types that they really take."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest

from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.overrides import GenerationOptions, LengthlessOptions, SeedlessOptions

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "typed"


def by_mypy(program, cache):
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    command += ["--no-error-summary", "--output=json", f"--cache-dir={cache}", str(program)]
    environment = os.environ | {"MYPYPATH": str(ROOT / "runtime")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode in (0, 1), result.stderr + result.stdout
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return {error["line"]: error["message"] for error in found if error["severity"] == "error"}


def by_pyright(program, _cache):
    command = [PYRIGHT, "--outputjson", f"--pythonpath={sys.executable}", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT / "runtime")
    found = json.loads(result.stdout)["generalDiagnostics"]
    errors = [error for error in found if error["severity"] == "error"]
    return {error["range"]["start"]["line"] + 1: error["message"] for error in errors}


NEEDS_MYPY = pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
PYRIGHT = shutil.which("pyright", path=f"{ROOT / '.cache' / 'tools' / 'bin'}{os.pathsep}{os.environ['PATH']}")
NEEDS_PYRIGHT = pytest.mark.skipif(
    PYRIGHT is None,
    reason="No pyright: python3 -m venv .cache/tools, .cache/tools/bin/pip install pyright.",
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(by_mypy, marks=NEEDS_MYPY, id="mypy"),
        pytest.param(by_pyright, marks=[NEEDS_PYRIGHT, pytest.mark.prove], id="pyright"),
    ],
)
def errors_in(request, tmp_path_factory):
    cache = tmp_path_factory.mktemp("mypy")
    return lambda name: request.param(PROGRAMS / name, cache)


def test_type_checkers_find_every_mistake_in_a_program_and_nothing_else(errors_in):
    lines = (PROGRAMS / "mistaken.py").read_text(encoding="utf-8").splitlines()
    mistakes = {number for number, line in enumerate(lines, 1) if line.endswith("# mistake")}
    found = errors_in("mistaken.py")
    assert {number: lines[number - 1] for number in mistakes - set(found)} == {}
    assert {number: message for number, message in found.items() if number not in mistakes} == {}
    assert errors_in("right.py") == {}


def given(kept):
    """The types that may be given for what is kept as this one."""
    origin, parts = get_origin(kept), get_args(kept)
    if origin in (Union, UnionType):
        return {each for part in parts for each in given(part)}
    if origin is tuple:
        return {kept, list[parts[1] if parts[1] is not Ellipsis else parts[0]]}
    if origin is dict:
        return {Mapping[parts]}
    return {kept}


@pytest.mark.parametrize("name", generation_options())
def test_an_option_given_by_name_has_the_types_of_the_one_place(name):
    kept = get_type_hints(GenerationConfig)[name]
    alone = {str} if name == "stop_strings" else set()
    hint = get_type_hints(GenerationOptions)[name]
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    assert set(parts) == given(kept) | alone


def test_every_option_may_be_given_by_name_and_no_other():
    assert GenerationOptions.__required_keys__ == frozenset()
    assert GenerationOptions.__optional_keys__ == set(generation_options())
    assert SeedlessOptions.__optional_keys__ == set(generation_options()) - {"seed"}
    assert LengthlessOptions.__optional_keys__ == set(generation_options()) - {"max_length"}


LISTS = {"stop_strings": ["a"], "eos_token_id": [1], "exponential_decay_length_penalty": [1, 1.1]}


def test_every_option_that_may_be_given_as_a_list_can_be():
    hints = get_type_hints(GenerationOptions)
    assert {name for name, hint in hints.items() if list in map(get_origin, get_args(hint))} == set(LISTS)
    assert all(
        getattr(GenerationConfig(**{name: value}), name) == tuple(value) for name, value in LISTS.items()
    )
