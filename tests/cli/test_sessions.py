"""``llmb chat``, ``llmb generate text --interactive`` and ``--setup`` from a pipe."""

import json
import zipfile

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder_cli.job import Job


def test_a_chat_answers_line_by_line(llmb, opened, answer):
    result = llmb("chat", "-m", "bundle", stdin="Who?\nAnd now?\nquit\n")
    assert result.exit_code == 0
    assert result.stdout == f"{answer}\n{answer}\n"


def test_options_and_the_system_prompt_reach_the_chat(llmb, opened):
    result = llmb(
        "chat", "-m", "b", "-s", "Be kind.", "--max-tokens", "3", "--set", "top_k=7", stdin="/settings\n"
    )
    assert "max_new_tokens = 3" in result.stderr
    assert "top_k = 7" in result.stderr
    assert "system prompt: Be kind." in result.stderr


def test_a_saved_conversation_goes_on(llmb, opened, tmp_path):
    path = tmp_path / "c.json"
    assert llmb("chat", "-m", "b", stdin=f"Who?\n/save {path}\n").exit_code == 0
    assert llmb("chat", "-m", "b", "--load", path, stdin=f"And now?\n/save {path}\n").exit_code == 0
    assert [turn["user"] for turn in json.loads(path.read_text())["conversation"]] == ["Who?", "And now?"]


def test_a_file_that_is_no_conversation_is_an_error(program, tmp_path):
    (tmp_path / "c.json").write_text("3")
    result = program("chat", "-m", "artifacts/storyteller/bundle", "--load", tmp_path / "c.json")
    assert result.returncode == 1
    assert "holds no conversation" in result.stderr


def test_an_interactive_session_continues_prompts(llmb, opened, answer):
    result = llmb("generate", "text", "-m", "b", "-i", "--max-tokens", "6", stdin="Once\n/settings\n")
    assert result.stdout == f"{answer[:6]}\n"
    assert "max_new_tokens = 6" in result.stderr


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000, '[["a"]]'])
def test_a_value_that_no_option_takes_is_an_error_in_one_line(llmb, opened, value):
    result = llmb("chat", "-m", "b", "--set", f"seed={value}", stdin="")
    assert isinstance(result.exception, ConfigError)
    assert "No option takes" in str(result.exception)
    assert len(str(result.exception)) < 200


@pytest.mark.parametrize("extra", [("-p", "x"), ("--json",)])
def test_a_session_takes_no_prompt_and_writes_no_json(llmb, opened, extra):
    result = llmb("generate", "text", "-m", "b", "-i", *extra)
    assert result.exit_code == 2
    assert "--interactive" in result.stderr


def test_without_a_model_a_pipe_is_wrong_usage(llmb, opened):
    result = llmb("generate", "text", "-p", "x")
    assert result.exit_code == 2
    assert "--setup" in result.stderr


def test_setup_takes_its_answers_from_a_pipe_too(llmb, opened, answer, tmp_path):
    model = checkpoint(tmp_path)
    answers = [str(model), "", "text", "Once", "6", "hot", "0.5", "", "", "", ""]
    result = llmb("generate", "text", "--setup", stdin="\n".join(answers) + "\n")
    assert result.exit_code == 0
    assert result.stdout == f"{answer[:6]}\n"
    assert "temperature must be a number" in result.stderr
    assert (
        f"llmb generate text --model {model} --prompt Once --max-tokens 6 --temperature 0.5\n"
        in result.stderr
    )


def test_setup_begins_from_nothing_if_that_is_the_answer(llmb, opened, answer, tmp_path):
    model = checkpoint(tmp_path)
    answers = [str(model), "", "text", "", "none", *[""] * 6]
    result = llmb("generate", "text", "--setup", "--greedy", stdin="\n".join(answers) + "\n")
    assert "or none to begin from nothing" in result.stderr
    assert "--prompt '' --greedy\n" in result.stderr
    assert result.stdout == f"{answer}\n"


def test_setup_keeps_what_was_given(llmb, opened, tmp_path):
    model = checkpoint(tmp_path)
    given = [
        "-m",
        model,
        "-p",
        "Once",
        "--greedy",
        "--stop",
        "fox",
        "--top-k",
        "9",
        "--set",
        "min_new_tokens=2",
    ]
    result = llmb("generate", "text", "--setup", *given, stdin="\n" * 12)
    assert (
        f"--model {model} --prompt Once --top-k 9 --stop fox --greedy --set min_new_tokens=2".split()
        == sorted_words(result.stderr)
    )
    assert result.stdout == "a \n"


def checkpoint(directory):
    """A file that looks like one that torch has saved."""
    path = directory / "model.pt"
    zipfile.ZipFile(path, "w").close()
    return path


def sorted_words(stderr):
    """The options of the command that was shown, in a fixed order."""
    (command,) = [line for line in stderr.splitlines() if line.startswith("llmb generate text ")]
    words = command.removeprefix("llmb generate text ").split()
    order = ["--model", "--prompt", "--top-k", "--stop", "--greedy", "--set"]
    parts = [
        [word] if word == "--greedy" else words[n : n + 2] for n, word in enumerate(words) if word in order
    ]
    return [word for part in sorted(parts, key=lambda part: order.index(part[0])) for word in part]


def test_setup_that_is_not_answered_to_the_end_is_wrong_usage(llmb, opened, tmp_path):
    result = llmb("generate", "text", "--setup", stdin="")
    assert result.exit_code == 2
    assert "ended before" in result.stderr


def test_the_command_of_a_job_can_be_pasted_into_a_shell():
    job = Job("my model", "tok", "it's", {"seed": 3, "stop_strings": ["a b"], "top_k": None})
    assert job.command() == (
        "llmb generate text --model 'my model' --tokenizer tok --prompt 'it'\"'\"'s' --seed 3 --stop 'a b' "
        "--set top_k=null"
    )
