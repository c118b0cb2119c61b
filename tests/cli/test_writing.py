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
