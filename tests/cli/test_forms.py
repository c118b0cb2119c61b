"""The form of a text on the command line: words, a JSON schema, a regular expression, choices."""

import json
import re
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
GREEDY = ("generate", DEMO, "-p", "Once upon a time", "--greedy")


@pytest.mark.parametrize("more", [(), ("--verbose",), ("--set", "num_beams=2")])
def test_a_text_is_one_of_the_choices(llmb, more):
    result = llmb(*GREEDY, "--choice", "yes", "--choice", "no", *more)
    assert result.exit_code == 0, result.exception
    assert result.stdout in {"yes\n", "no\n"}
    assert ("tokens" in result.stderr) == ("--verbose" in more)


def test_a_text_matches_a_regular_expression(llmb):
    result = llmb(*GREEDY, "--regex", "(foo|bar) [a-z]{2}")
    assert re.fullmatch("(foo|bar) [a-z]{2}\n", result.stdout)


def test_a_text_is_json_of_a_schema(llmb, tmp_path):
    (tmp_path / "schema.json").write_text('{"enum": ["yes", "no"]}')
    result = llmb(*GREEDY, "--json-schema", tmp_path / "schema.json", "--json")
    assert json.loads(json.loads(result.stdout)["text"]) in {"yes", "no"}


def test_a_text_matches_a_grammar_of_a_file(llmb, tmp_path):
    (tmp_path / "answer.lark").write_text('start: "The " ("end" | "start") "."')
    result = llmb(*GREEDY, "--grammar", tmp_path / "answer.lark")
    assert result.stdout in {"The end.\n", "The start.\n"}


def test_words_are_said_or_not(llmb):
    plain = llmb(*GREEDY, "--max-tokens", "20").stdout
    word = re.findall(r"[a-z]{3,}", plain)[0]
    result = llmb(*GREEDY, "--max-tokens", "20", "--required", "castle", "--forbidden", word)
    words = re.findall(r"\w+", result.stdout.lower())
    assert "castle" in words
    assert word not in words


def test_a_session_has_no_form(llmb, opened):
    result = llmb("generate", "bundle", "-i", "--regex", "a")
    assert result.exit_code == 2


def test_a_schema_that_is_not_there_is_told(llmb, opened, tmp_path):
    result = llmb("generate", "bundle", "-p", "x", "--json-schema", tmp_path / "gone.json")
    assert result.exit_code == 1
    assert "gone.json" in str(result.exception)


def test_setup_shows_the_form_in_its_command(llmb, opened):
    given = ("generate", "--setup", "-m", DEMO, "--required", "a fox")
    result = llmb(*given, stdin="\n".join(["", "", "", "Hello", *[""] * 6]) + "\n")
    assert "--required 'a fox'" in result.stderr
