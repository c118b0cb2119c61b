"""``--setup``: what is shown as the default is the default, and the command shown does the same."""

import json
import shutil
from pathlib import Path

import pytest

from llmbuilder.bundle.manifest import digest

DEMO = Path("artifacts/storyteller/bundle")
EVERYTHING_AS_SHOWN = ["", "", "", "Hello", *[""] * 6]


@pytest.fixture
def bundle(tmp_path):
    """The demo model with defaults of its own."""
    copy = tmp_path / "bundle"
    shutil.copytree(DEMO, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["generation"] = {"temperature": 0.2, "top_k": 5, "max_new_tokens": 7}
    manifest["digest"] = digest(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def command(stderr):
    (shown,) = [line for line in stderr.splitlines() if line.startswith("llmb generate text ")]
    return shown


def test_an_answer_that_differs_from_the_models_own_defaults_is_an_option(llmb, opened, bundle):
    answers = ["", "", "", "Hello", "100", "0.8", "", "", "", "1"]
    result = llmb("generate", "text", "--setup", "-m", bundle, stdin="\n".join(answers) + "\n")
    assert command(result.stderr).endswith("--prompt Hello --max-tokens 100 --temperature 0.8 --seed 1")


def test_an_empty_answer_is_what_the_model_does_anyway(llmb, opened, bundle):
    result = llmb("generate", "text", "--setup", "-m", bundle, stdin="\n".join(EVERYTHING_AS_SHOWN) + "\n")
    assert command(result.stderr) == f"llmb generate text --model {bundle} --prompt Hello"


def test_temperature_0_is_greedy(llmb, opened, bundle):
    answers = ["", "", "", "Hello", "", "0", "", "", "", ""]
    result = llmb("generate", "text", "--setup", "-m", bundle, stdin="\n".join(answers) + "\n")
    assert command(result.stderr).endswith("--prompt Hello --greedy")


def test_a_folder_that_holds_the_bundle_is_one_too(llmb, opened, bundle):
    bundle.rename(bundle.parent / "model-onnx")
    given = ("generate", "text", "--setup", "-m", bundle.parent)
    result = llmb(*given, stdin="\n".join(EVERYTHING_AS_SHOWN) + "\n")
    assert "model-onnx --prompt Hello" in command(result.stderr)


def test_the_command_says_where_and_how_too(llmb, opened, bundle):
    given = ["-m", bundle, "--threads", "1", "--device", "cpu", "--json"]
    result = llmb("generate", "text", "--setup", *given, stdin="\n".join(EVERYTHING_AS_SHOWN) + "\n")
    assert command(result.stderr).endswith("--prompt Hello --json --device cpu --threads 1")
    assert json.loads(result.stdout)["finish_reason"]
    assert opened[-1] == {"model": bundle, "tokenizer": None, "device": "cpu", "threads": 1}


@pytest.mark.parametrize(
    ("model", "tokenizer", "complaint"),
    [
        ("README.md", "", "README.md is no checkpoint"),
        (DEMO, "docs", "neither a *.model nor a tokenizer.json"),
    ],
)
def test_a_path_that_holds_nothing_of_the_kind_is_asked_for_again(llmb, opened, model, tokenizer, complaint):
    answers = [str(model), *([str(DEMO)] if model != DEMO else []), tokenizer, "", *EVERYTHING_AS_SHOWN[2:]]
    result = llmb("generate", "text", "--setup", stdin="\n".join(answers) + "\n")
    assert complaint in result.stderr
