"""The page that leads from training to a bundle, with LLMBuilder's real release."""

import lzma
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guide" / "from-training.md").read_text(encoding="utf-8")
STORIES = ROOT / "scripts" / "storyteller" / "stories.tsv.xz"


def run(*command, cwd, path):
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def trained(tmp_path, release_2):
    """What the page's ``train.py`` leaves."""
    lines = lzma.decompress(STORIES.read_bytes()).decode().splitlines()[:60]
    (tmp_path / "text.txt").write_text("\n".join(line.replace("\t", " ").strip() for line in lines))
    (tmp_path / "train.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    run("train.py", cwd=tmp_path, path=release_2)
    return tmp_path


@pytest.mark.prove
def test_what_the_page_trains_is_exported_checked_and_generates_as_the_page_says(trained):
    lines = [
        line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    commands = [shlex.split(line.removeprefix("$ llmb "), comments=True) for line in lines]
    left_out = {"exporter", "serve"}  # another gigabyte, and a server that does not end
    ours = os.pathsep.join(str(ROOT / folder) for folder in ("runtime", "export", "cli"))
    done = [command for command in commands if command[0] not in left_out]
    assert [command[0] for command in done] == ["export", "verify", "verify", "generate"]
    for command in done:
        words = [
            f"model/{word}" if word == "model-onnx" else word for word in command
        ]  # nothing is copied here
        result = run("-m", "llmbuilder_cli", *words, cwd=trained, path=ours)
    assert result.stdout.strip()
