"""Texts in a style on the command line."""

import json
from pathlib import Path

import pytest

from llmbuilder.inference import CreativeWriter
from llmbuilder.writing.styles import style_names
from llmbuilder_cli.writing import WRITING

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
PROMPT = "Tom and Lily look for a ball"
ASKED = ("generate", DEMO, "-p", PROMPT, "--seed", "1")


@pytest.mark.parametrize(
    ("flags", "write"),
    [
        (("--words", "20"), lambda writer: writer.continue_story(PROMPT, 20)),
        (("--write", "character", "--max-tokens", "30"), lambda writer: writer.develop_character(PROMPT)),
        (
            ("--write", "dialogue", "--turns", "2", "--speaker", "King", "--speaker", "Fool"),
            lambda writer: writer.generate_dialogue(PROMPT, 2, speakers=["King", "Fool"]),
        ),
    ],
    ids=["story", "character", "dialogue"],
)
@pytest.mark.parametrize("style", [None, "poetic"])
def test_it_writes_what_the_library_does(llmb, flags, write, style):
    options = {"max_new_tokens": 30} if "--max-tokens" in flags else {}
    with CreativeWriter(DEMO, style=style or "creative", seed=1, **options) as writer:
        text = write(writer)
    result = llmb(*ASKED, *flags, *(("--style", style) if style else ()))
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"{text}\n"


def test_there_are_the_styles_that_the_library_has():
    assert list(WRITING["style"].kind.__args__) == style_names()


def test_json_has_the_text(llmb, opened, answer):
    result = llmb("generate", "bundle", "-p", "x", "--write", "character", "--json")
    assert json.loads(result.stdout) == {"text": answer}


def test_a_filter_reads_it(llmb, opened):
    result = llmb("generate", "bundle", "-p", "x", "--write", "character", "--banned-pattern", "fox")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "--banned-pattern" in result.stderr


@pytest.fixture
def seen(monkeypatch):
    """The options of the last text."""
    options = {}

    def pieces(_, prompt, config, **overrides):
        options.update(overrides, temperature=config.temperature, top_p=config.top_p)
        return iter(["A fox."])

    monkeypatch.setattr("llmbuilder.generator.TextGenerator.pieces", pieces)
    return options


def test_a_flag_changes_what_the_style_says_and_the_users_file_does_not(
    llmb, opened, seen, tmp_path, monkeypatch
):
    (tmp_path / "config.toml").write_text("[generation]\ntemperature = 0.1\ntop_p = 0.1\n")
    monkeypatch.setenv("LLMB_CONFIG", str(tmp_path / "config.toml"))
    flags = ("--style", "formal", "--write", "character", "--temperature", "0.2")
    assert llmb("generate", "bundle", "-p", "x", *flags).exit_code == 0
    assert (seen["temperature"], seen["top_p"]) == (0.2, 0.9)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--style", "baroque"), "There is no 'baroque'. Give creative or technical"),
        (("--words", "0"), "Give at least 1"),
        (("--words", "9", "--write", "dialogue"), "It is for --write story, not for a dialogue."),
        (("--turns", "2"), "It is for --write dialogue, not for a story."),
        (("--style", "story", "--max-tokens", "9"), "Give --words."),
        (("--style", "story", "--regex", "a"), "for --regex: It does not go with --style"),
        (("--style", "story", "--verbose"), "for --verbose: It does not go with --style"),
        (("--style", "story", "--setup"), "for --setup: It does not go with --style"),
        (("--style", "story", "--json", "--set", "num_return_sequences=2"), "num_return_sequences"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(llmb, opened, flags, message):
    result = llmb("generate", "bundle", "-p", "x", *flags)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert opened == []


def test_a_session_has_no_style(llmb, opened):
    result = llmb("generate", "bundle", "-i", "--style", "story")
    assert result.exit_code == 2
    assert "--interactive" in result.stderr


def test_speakers_that_cannot_be_are_told_by_their_flag(llmb, opened):
    result = llmb("generate", "bundle", "-p", "x", "--write", "dialogue", "--speaker", "Tom")
    assert result.exit_code == 1
    assert str(result.exception).startswith("--speaker must be two or more different names")


class TestBatches:
    """A line's text is what ``generate text`` gives its prompt."""

    @pytest.mark.parametrize(
        "flags",
        [
            ("--words", "12"),
            ("--write", "dialogue", "--turns", "2"),
            ("--write", "character", "--style", "formal"),
        ],
        ids=["story", "dialogue", "character"],
    )
    def test_a_line_is_what_it_is_alone(self, llmb, flags):
        lines = [{"prompt": PROMPT, "id": "a"}, {"prompt": "A bear", "seed": 2, "temperature": 0.5}]
        given = "".join(json.dumps(line) + "\n" for line in lines)
        result = llmb("generate", "batch", DEMO, "-", "-", "--seed", "1", *flags, stdin=given)
        assert result.exit_code == 0, result.exception
        first, second = map(json.loads, result.stdout.splitlines())
        assert set(first) == {"id", "text"}
        assert f"{first['text']}\n" == llmb(*ASKED, *flags).stdout
        own = ("-p", "A bear", "--seed", "2", "--temperature", "0.5")
        assert f"{second['text']}\n" == llmb("generate", DEMO, *own, *flags).stdout

    def test_a_line_that_cannot_be_written_has_an_error_and_the_others_a_text(self, llmb, opened):
        lines = ({}, {"max_new_tokens": 9}, {"temprature": 1}, {"batch_size": 2}, {"seed": 3})
        given = "".join(json.dumps({"prompt": "x", **line}) + "\n" for line in lines)
        result = llmb("generate", "batch", "bundle", "-", "-", "--words", "3", stdin=given)
        assert result.exit_code == 1
        first, tokens, unknown, rows, last = map(json.loads, result.stdout.splitlines())
        assert first["text"] == last["text"] != ""
        assert "Leave it out, and give --words." in tokens["error"]
        assert "Did you mean 'temperature'" in unknown["error"]
        assert "batch_size holds for all prompts" in rows["error"]

    def test_a_filter_reads_it_and_progress_goes_to_stderr(self, llmb, opened, tmp_path):
        flags = ("--write", "character", "--banned-pattern", "fox")
        result = llmb(
            "generate", "batch", "bundle", "-", tmp_path / "out.jsonl", *flags, stdin='{"prompt": "x"}\n'
        )
        assert result.exit_code == 1
        assert "--banned-pattern" in json.loads((tmp_path / "out.jsonl").read_text())["error"]
        assert "1 of 1 prompts, in 0:0" in result.stderr

    def test_it_is_not_resumed_with_another_style(self, llmb, opened, tmp_path, monkeypatch):
        monkeypatch.setattr("llmbuilder.files.resuming.end", lambda _: None)  # as if it had been stopped
        (tmp_path / "in.jsonl").write_text('{"prompt": "x"}\n')
        command = ("generate", "batch", "bundle", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        assert llmb(*command, "--words", "3").exit_code == 0
        assert llmb(*command, "--words", "3", "--resume").exit_code == 0
        assert "another form: {'words': 3}" in str(llmb(*command, "--words", "4", "--resume").exception)

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--style", "story", "--batch-size", "2"), "for --batch-size: It does not go with --style"),
            (("--style", "story", "--regex", "a"), "for --regex: It does not go with --style"),
            (("--style", "story", "--max-tokens", "9"), "Give --words."),
        ],
    )
    def test_what_does_not_go_together_is_wrong_usage(self, llmb, opened, flags, message):
        result = llmb("generate", "batch", "bundle", "-", "-", *flags, stdin="")
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
        assert opened == []
