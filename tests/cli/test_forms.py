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


class TestBatches:
    """A line's text is what ``generate text`` gives its prompt."""

    LINES = (
        {"prompt": "Is a fox an animal? "},
        {"prompt": "Once upon a time", "seed": 2, "temperature": 0.5},
    )

    @pytest.fixture
    def prompts(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.LINES))
        return path

    @pytest.fixture
    def files(self, tmp_path):
        (tmp_path / "schema.json").write_text('{"enum": ["yes", "no"]}')
        (tmp_path / "answer.lark").write_text('start: "The " ("end" | "start") "."')
        return tmp_path

    @pytest.mark.parametrize(
        "form",
        [
            ("--choice", "yes", "--choice", "no"),
            ("--regex", "(foo|bar) [a-z]{2,9}"),
            ("--json-schema", "schema.json"),
            ("--grammar", "answer.lark"),
            ("--required", "castle", "--forbidden", "was", "--max-tokens", "20"),
        ],
        ids=lambda form: form[0],
    )
    def test_a_line_is_what_it_is_alone(self, llmb, prompts, files, form, monkeypatch):
        monkeypatch.chdir(files)
        common = (*form, "--seed", "1")
        result = llmb("generate", "batch", DEMO, prompts, "-", *common)
        assert result.exit_code == 0, result.exception
        texts = [json.loads(line)["text"] for line in result.stdout.splitlines()]
        for line, text in zip(self.LINES, texts, strict=True):
            own = [w for name in ("seed", "temperature") if name in line for w in (f"--{name}", line[name])]
            alone = llmb("generate", DEMO, "-p", line["prompt"], *common, *own)
            assert alone.stdout == f"{text}\n"

    def test_a_line_that_has_no_room_for_its_form_has_an_error_and_the_others_a_text(self, llmb, prompts):
        with prompts.open("a") as file:
            file.write('{"prompt": "A", "max_new_tokens": 1}\n')
        result = llmb("generate", "batch", DEMO, prompts, "-", "--regex", "castles?")
        assert result.exit_code == 1
        *texts, last = map(json.loads, result.stdout.splitlines())
        assert all(re.fullmatch("castles?", record["text"]) for record in texts)
        assert "fit into the 1 tokens" in last["error"]

    def test_it_is_not_resumed_with_another_form(self, llmb, prompts, files, monkeypatch):
        monkeypatch.chdir(files)
        command = ("generate", "batch", DEMO, prompts, "out.jsonl", "--seed", "1")
        monkeypatch.setattr("llmbuilder.files.resuming.end", lambda _: None)  # as if it had been stopped
        assert llmb(*command, "--json-schema", "schema.json").exit_code == 0
        assert llmb(*command, "--json-schema", "schema.json", "--resume").exit_code == 0
        (files / "schema.json").write_text('{"enum": ["yes"]}')
        result = llmb(*command, "--json-schema", "schema.json", "--resume")
        assert result.exit_code == 1
        assert 'begun with another form: {\'json_schema\': \'{"enum": ["yes", "no"]}\'}' in str(
            result.exception
        )
