"""docs/parameters.md has a section for every option, and its facts are those of the class."""

import re
from pathlib import Path

import pytest

from llmbuilder.config import generation_options

PAGE = (Path(__file__).parent.parent / "docs" / "parameters.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
OPTIONS = generation_options()


def test_every_option_has_its_section_and_no_other():
    assert set(SECTIONS) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_section_states_range_and_default(name):
    facts = re.search(r"^Range: (.+?)\. Default: `(.+?)`", SECTIONS[name], flags=re.MULTILINE | re.DOTALL)
    assert facts
    stated = " ".join(facts[1].split()).partition("; ")[0].replace("`", "")
    assert stated == OPTIONS[name].range.partition("; ")[0]
    assert facts[2] == repr(OPTIONS[name].default)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_section_shows_what_an_example_printed(name):
    example = re.search(r"```python\n(.+?)```\n\n```text\n(.+?)```", SECTIONS[name], flags=re.DOTALL)
    assert example
    assert name in example[1]


def test_the_examples_run(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parent.parent)
    namespace: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, "parameters.md", "exec"), namespace)  # noqa: S102 (our own page)
        shown = capsys.readouterr().out.splitlines()
        calls = {line for line in block.splitlines() if line.startswith("show(")}
        assert len(set(shown)) >= len(calls), block  # each call shows what another does not
        assert shown
