"""Filters on the command line: what passes, what is masked, what is refused and how that is told."""

import json

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.filtering.settings import FilterSettings
from llmbuilder.options import options_of
from llmbuilder_cli.filters import FILTERS

GREEDY = ("generate", "bundle", "-p", "x", "--greedy")


@pytest.fixture
def answer():
    return "The shed was full of shit, said Ann. Write to ann@example.org."


def test_there_is_a_flag_for_every_setting():
    assert set(FILTERS) == set(options_of(FilterSettings))


@pytest.mark.parametrize(
    "flags",
    [
        ("--min-characters", "0", "--max-characters", "100"),
        ("--max-repetition", "0", "--min-coherence", "0"),
        ("--banned-pattern", "fox", "--banned-pattern", "w[oa]lf"),
        ("--allowed-script", "latin"),
        ("--check-facts",),
    ],
    ids=" ".join,
)
def test_a_text_that_passes_is_printed(llmb, opened, answer, flags):
    result = llmb(*GREEDY, *flags)
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"{answer}\n"
    assert result.stderr == ""


def test_words_and_personal_data_are_masked(llmb, opened):
    result = llmb(*GREEDY, "--mask-profanity", "--personal-data", "mask")
    assert result.exit_code == 0
    assert "full of ****, said Ann." in result.stdout
    assert "example.org" not in result.stdout


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--min-characters", "500"), "--min-characters: 62 characters, fewer than 500."),
        (("--max-characters", "0"), "--max-characters: 62 characters, more than 0."),
        (("--personal-data", "refuse"), "--personal-data: it has e-mail address."),
        (("--banned-pattern", "SH.D"), "--banned-pattern: 'SH.D' matches."),
        (("--allowed-script", "greek"), "--allowed-script: "),
    ],
)
def test_a_text_that_is_refused_is_not_shown_but_its_flag_is(llmb, opened, flags, why):
    result = llmb(*GREEDY, *flags)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"The text was refused. {why}" in result.stderr
    assert "Another --seed" in result.stderr


def test_json_tells_a_refusal_as_batches_do_and_the_others_as_ever(llmb, opened):
    arguments = ("--json", "--set", "num_return_sequences=2", "--seed", "1", "--max-characters", "5")
    result = llmb("generate", "bundle", "-p", "x", *arguments)
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(line) for line in lines] == [{"error"}] * 2


def test_json_of_a_masked_text_has_nothing_that_spells_it_out(llmb, opened, answer):
    plain = ("--json", "--set", "logprobs=2")
    masked = json.loads(llmb(*GREEDY, *plain, "--mask-profanity").stdout)
    assert "****" in masked["text"]
    assert not {"token_ids", "logprobs"} & set(masked)
    assert masked["new_tokens"] == len(answer.encode()) + 1
    assert {"token_ids", "logprobs"} <= set(json.loads(llmb(*GREEDY, *plain, "--check-facts").stdout))


def test_verbose_tells_tokens_of_a_filtered_text_too(llmb, opened):
    assert "tokens" in llmb(*GREEDY, "--mask-profanity", "--verbose").stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-repetition", "2"), "--max-repetition must be "),
        (("--banned-pattern", "("), "--banned-pattern: '(' is not a regular expression"),
        (("--allowed-script", "elvish"), "--allowed-script must be a list of scripts among "),
        (
            ("--min-characters", "9", "--max-characters", "3"),
            "--min-characters 9 exceeds --max-characters 3: no text passes",
        ),
    ],
)
def test_a_value_that_cannot_be_is_told_by_its_flag_before_a_model_is_loaded(llmb, opened, flags, message):
    result = llmb(*GREEDY, *flags)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(message)
    assert "re.escape" not in str(result.exception)
    assert opened == []


@pytest.mark.parametrize(
    ("flags", "word"), [(("--min-characters", "-1"), "too little"), (("--personal-data", "keep"), "mask")]
)
def test_a_value_of_a_wrong_kind_is_wrong_usage(llmb, opened, flags, word):
    result = llmb(*GREEDY, *flags)
    assert result.exit_code == 2
    assert word in result.stderr


@pytest.mark.parametrize("command", [("chat",), ("generate", "-i")], ids=" ".join)
def test_a_session_shows_what_passes_as_it_may_be_shown(llmb, opened, answer, command):
    given = ("--greedy", "--max-tokens", "30", "--mask-profanity")
    result = llmb(*command, "-m", "bundle", *given, stdin="Who?\nAnd?\n")
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"{answer[:30].replace('shit', '****')}\n" * 2


@pytest.mark.parametrize("command", [("chat",), ("generate", "-i")], ids=" ".join)
def test_a_session_tells_of_what_is_refused_and_goes_on(llmb, opened, command):
    given = ("--greedy", "--max-tokens", "30", "--max-characters", "5")
    result = llmb(*command, "-m", "bundle", *given, stdin="Who?\n/settings\n")
    assert result.exit_code == 0
    assert result.stdout.strip() == ""
    assert "Error: The text was refused. --max-characters: 30 characters, more than 5." in result.stderr
    assert "filter: --max-characters = 5" in result.stderr


def test_a_batch_has_what_passes_as_it_may_be_shown(llmb, opened, answer, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "x", "do_sample": false}\n')
    result = llmb("generate", "batch", "b", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--mask-profanity")
    assert result.exit_code == 0, result.exception
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert record["text"] == answer.replace("shit", "****")
    assert set(record) == {"id", "text", "finish_reason", "prompt_tokens", "new_tokens"}


def test_a_batch_has_the_reason_of_a_refusal_in_its_line_and_goes_on(llmb, opened):
    lines = '{"prompt": "x", "max_new_tokens": 3}\n{"prompt": "y"}\n{"prompt": "z", "max_new_tokens": 4}\n'
    result = llmb("generate", "batch", "b", "-", "-", "--greedy", "--max-characters", "5", stdin=lines)
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert (first["id"], third["id"]) == (1, 3)
    assert {"text"} & set(first) & set(third)
    assert set(second) == {"id", "error"}
    assert second["error"].startswith(
        "The text was refused. --max-characters: 62 characters, more than 5. Another --seed"
    )


@pytest.mark.parametrize("command", [("chat", "b"), ("generate", "batch", "b", "in", "out")], ids=" ".join)
def test_a_filter_that_cannot_be_is_told_before_a_model_is_loaded(llmb, opened, command):
    result = llmb(*command, "--max-repetition", "2")
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith("--max-repetition must be ")
    assert opened == []


def test_setup_shows_the_filter_in_its_command(llmb, opened, tmp_path):
    given = (
        "--mask-profanity",
        "--personal-data",
        "refuse",
        "--banned-pattern",
        "a b",
        "--max-repetition",
        "0",
    )
    answers = "\n".join(["", "", "", "Hello", *[""] * 6]) + "\n"
    result = llmb("generate", "--setup", "-m", "artifacts/storyteller/bundle", *given, stdin=answers)
    for words in (
        "--mask-profanity",
        "--personal-data refuse",
        "--banned-pattern 'a b'",
        "--max-repetition 0.0",
    ):
        assert words in result.stderr


def test_setup_keeps_the_filter_for_a_session(llmb, opened):
    answers = "\n".join(["", "", "interactive", *[""] * 6, "Who?"]) + "\n"
    given = ("-m", "artifacts/storyteller/bundle", "--max-characters", "5")
    result = llmb("generate", "--setup", *given, stdin=answers)
    assert "--interactive --max-characters 5" in result.stderr
    assert "The text was refused." in result.stderr
