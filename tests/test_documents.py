"""What the documents show is run as it stands, from the repository's root."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbuilder.generator import TextGenerator
from llmbuilder_cli.main import app

ROOT = Path(__file__).parent.parent
DEMO = "artifacts/storyteller/bundle"


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def demo_commands() -> list[str]:
    """Commands of the README that use the demo bundle, the prompt of a pipe left out."""
    lines = "".join(blocks("README.md", "console")).splitlines()
    return [line[line.index("llmb ") :] for line in lines if line.startswith("$") and DEMO in line]


ELSEWHERE = {"docs/guide/modules.md", "docs/guide/from-training.md"}
"""Run with torch, in tests/export/test_modules.py and tests/interop/test_from_training.py."""
PAGES = sorted({str(page.relative_to(ROOT)) for page in (ROOT / "docs" / "guide").glob("*.md")} - ELSEWHERE)


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md", *PAGES])
def test_python_blocks_run_in_order(document, monkeypatch):
    monkeypatch.chdir(ROOT)
    namespace: dict[str, object] = {}
    found = blocks(document, "python")
    assert found
    for block in found:
        exec(compile(block, document, "exec"), namespace)  # noqa: S102 (our own documents)


def test_python_blocks_for_cards_run_as_they_would_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        "llmbuilder.inference.TextGenerator", lambda _, **options: TextGenerator(DEMO, **options)
    )
    for block in blocks("docs/cuda.md", "python"):
        exec(compile(block, "docs/cuda.md", "exec"), {})  # noqa: S102 (our own documents)


@pytest.mark.parametrize("document", ["docs/cuda.md", "docs/guide/troubleshooting.md"])
def test_messages_that_a_page_explains_are_in_the_source(document):
    page = (ROOT / document).read_text(encoding="utf-8")
    table = page[page.index("| message |") :].partition("\n\n")[0].splitlines()[2:]
    messages = [line.split("|")[1].strip() for line in table]
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "runtime").rglob("*.py"))
    source = "".join(sources)
    parts = [part.strip() for message in messages for part in message.split("...") if part.strip()]
    assert len(parts) >= 8
    assert [part for part in parts if part not in source] == []


@pytest.mark.parametrize("command", demo_commands())
def test_commands_run(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, shlex.split(command)[1:], input="Once upon a time\n")
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_there_are_commands_to_run():
    assert len(demo_commands()) >= 4


def test_make_targets_that_documents_name_exist():
    documents = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
    )
    named = set(re.findall(r"(?:`|\$ )make ([a-z0-9-]+)", documents))
    targets = set(
        re.findall(r"^([a-z0-9-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"demo", "test"} <= named <= targets
