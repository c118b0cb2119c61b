"""The API reference says what the public modules offer, and how it is called."""

import importlib
import inspect
import re

import api_pages
import pytest
from api_pages import PAGES, exported, pages
from docstrings import first_sentence, markdown

from llmbuilder.config import generation_options

INFERENCE = (PAGES / "llmbuilder.inference.md").read_text(encoding="utf-8")
CALLS = dict(re.findall(r"^##+ `([\w.]+)`\n\n```python\n((?:.|\n)*?)\n```", INFERENCE, re.MULTILINE))
NAMES = exported("llmbuilder.inference")


def test_the_pages_are_in_step_with_the_code():
    found = {page.name: page.read_text(encoding="utf-8") for page in PAGES.iterdir()}
    assert found == pages(), "run scripts/api_pages.py"


@pytest.mark.parametrize("module", [name for name in api_pages.MODULES if name.startswith("llmbuilder.")])
def test_a_page_has_what_its_module_offers_and_nothing_else(module):
    page = (PAGES / f"{module}.md").read_text(encoding="utf-8")
    offered = getattr(importlib.import_module(module), "__all__", exported(module))
    assert re.findall(r"^## `(\w+)`", page, re.MULTILINE) == list(offered)


def parameters_of(call):
    return [name for name in inspect.signature(call).parameters if name != "self"]


@pytest.mark.parametrize("name", [name for name in CALLS if not CALLS[name].startswith("class ")])
def test_a_signature_has_the_parameters_that_python_sees(name):
    module = importlib.import_module("llmbuilder.inference")
    first, _, method = name.partition(".")
    call = inspect.getattr_static(getattr(module, first), method) if method else getattr(module, first)
    if isinstance(call, property):
        assert CALLS[name].endswith("# a property")
        return
    given = re.search(r"\w+\(((?:.|\n)*)\)", CALLS[name])[1]
    shown = re.findall(r"(?:^|, |\s)\*{0,2}(\w+)(?=: )", given)
    real = call.__func__ if isinstance(call, classmethod | staticmethod) else call
    assert shown == [each for each in parameters_of(real) if each != "cls"]


def test_every_name_has_a_meaning():
    parts = re.split(r"^##+ `([\w.]+)`\n", INFERENCE, flags=re.MULTILINE)[1:]
    bare = [
        name
        for name, part in zip(parts[::2], parts[1::2], strict=True)
        if not part.partition("```\n")[2].strip()
    ]
    assert set(NAMES) <= set(parts[::2])
    assert bare == []


@pytest.mark.parametrize("option", generation_options().values(), ids=lambda option: option.name)
def test_an_option_stands_there_with_type_default_and_range(option):
    section = INFERENCE.partition("## `GenerationConfig`")[2].partition("\n## ")[0]
    (row,) = (line for line in section.splitlines() if line.startswith(f"| `{option.name}` | "))
    cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[2:6]]
    assert cells[:3] == [f"`{option.type}`", f"`{option.default!r}`", option.range]


def test_a_docstring_becomes_markdown():
    doc = """Do ``it``. And more.

    Args:
        one: the first,
            in two lines.
        two: the second.

    Yields:
        What
        comes.

    Raises:
        ConfigError, BundleError: as of others, such as
        those.
    """
    assert first_sentence(inspect.cleandoc(doc)) == "Do ``it``."
    assert markdown(inspect.cleandoc(doc)).split("\n\n") == [
        "Do `it`. And more.",
        "**Arguments**",
        "- `one`: the first, in two lines.\n- `two`: the second.",
        "**Yields**: What comes.",
        "**Raises**",
        "- `ConfigError`, `BundleError`: as of others, such as those.",
    ]
