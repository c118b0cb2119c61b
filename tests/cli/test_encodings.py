"""Whatever the encoding of a terminal or pipe, what was computed is written, and what can be said in it is the same."""

import json
import os
import shutil
from pathlib import Path

import pytest

BUNDLE = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
SAID = "a fox, Łódź and é🦊."
ENCODINGS = ["ascii", "latin-1", "utf-16"]
PROGRAM = f"""
import sys
from llmbuilder import inference
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, scripted
from llmbuilder_cli.main import main

inference.TextGenerator = lambda *_, **__: TextGenerator.from_engine(fake_engine(scripted({SAID!r})))
main()
"""


@pytest.fixture
def run(program):
    """What the program writes, decoded; it must end well."""

    def run(*arguments, encoding="ascii", stdin=b""):
        result = program(*arguments, script=PROGRAM, encoding=encoding, stdin=stdin)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout

    return run


def escaped(text, encoding):
    return text.encode(encoding, "backslashreplace").decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_written_with_escapes_for_what_is_not_there(run, encoding):
    written = run("generate", "text", "-m", "x", "-p", "say ", encoding=encoding)
    assert written == f"{escaped(SAID, encoding)}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "command", [("generate", "text", "-i", "-m", "x"), ("chat", "-m", "x")], ids=" ".join
)
def test_sessions_go_on(run, command, encoding):
    written = run(*command, encoding=encoding, stdin=b"one\ntwo\n/settings\n/quit\n")
    assert written.count(escaped(SAID[:18], encoding)) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_says_the_same_in_every_encoding(run, encoding):
    (line,) = run("generate", "text", "-m", "x", "-p", "say ", "--json", encoding=encoding).splitlines()
    assert json.loads(line)["text"] == SAID


def test_a_batch_to_standard_output_is_utf_8(run, tmp_path):
    prompts = tmp_path / "in.jsonl"
    prompts.write_text('{"prompt": "say ", "id": "\\ud83e"}\n', encoding="utf-8")
    target = tmp_path / os.fsdecode(b"out \xff.jsonl")
    run("generate", "batch", str(prompts), str(target), "-m", "x")
    (line,) = target.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) | {"text": SAID, "id": "\ud83e"} == json.loads(line)


@pytest.mark.parametrize("as_json", [False, True])
def test_evaluate_reads_and_writes_whatever_comes(run, as_json, tmp_path):
    text = tmp_path / os.fsdecode(b"text \xff.txt")
    text.write_bytes(f"{SAID} It ran. ".encode() + b"\xff\xfe")
    options = ["--json"] if as_json else []
    assert "fluency" in run("evaluate", str(text), *options)


@pytest.fixture
def named_oddly(tmp_path):
    """A bundle in a folder whose name is not UTF-8, with a source whose name commands a terminal."""
    bundle = tmp_path / os.fsdecode(b"bundle \xff \x1b[31m")
    shutil.copytree(BUNDLE, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["source"]["name"] = "m\x1b[31m\n\u202eódel🦊\x9b2J"
    from llmbuilder.bundle.manifest import digest

    manifest.pop("digest", None)
    manifest = {"digest": digest(manifest), **manifest}
    (bundle / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
    return bundle


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_info_of_a_bundle_with_odd_names_commands_no_terminal(run, named_oddly, encoding):
    written = run("info", str(named_oddly), encoding=encoding)
    assert r" m\x1b[31m\n\u202e" in written
    assert r"bundle \udcff \x1b[31m" in written
    assert not {"\x1b", "\x9b", "\u202e"} & set(written)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_info_as_json_says_odd_names_as_they_are(run, named_oddly, encoding):
    written = run("info", str(named_oddly), "--json", encoding=encoding)
    assert json.loads(written)["source"]["name"] == "m\x1b[31m\n\u202eódel🦊\x9b2J"
    assert not {"\x1b", "\x9b", "\u202e"} & set(written)


def test_a_path_that_is_not_utf_8_is_an_error_in_one_line(program, named_oddly):
    result = program("generate", "text", "-m", named_oddly, "-p", "x")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr
