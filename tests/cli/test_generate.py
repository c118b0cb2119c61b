"""``llmb generate text``."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder_cli import answer

GREEDY = ("generate", "text", "--model", "bundle", "--greedy")


def test_prints_the_continuation_and_nothing_else(llmb, opened, answer):
    result = llmb(*GREEDY, "--prompt", "Tell me: ")
    assert result.exit_code == 0
    assert result.stdout == answer + "\n"
    assert result.stderr == ""


def test_passes_model_tokenizer_device_and_threads_on(llmb, opened):
    llmb(*GREEDY, "-t", "tokenizer", "--device", "cpu", "--threads", "3", "-p", "x")
    assert opened == [
        {"model": Path("bundle"), "tokenizer": Path("tokenizer"), "device": "cpu", "threads": 3}
    ]


@pytest.mark.parametrize("arguments", [(), ("--prompt", "-")], ids=["no prompt", "dash"])
def test_reads_a_piped_prompt_without_its_last_line_break(llmb, opened, arguments):
    result = llmb(*GREEDY, "--json", *arguments, stdin="two\nlines\n")
    assert json.loads(result.stdout)["prompt_tokens"] == len("two\nlines")


def test_without_a_prompt_a_terminal_gets_advice_and_exit_code_2(program):
    controller, terminal = os.openpty()
    try:
        result = program(*GREEDY, stdin=os.ttyname(terminal))
    finally:
        os.close(controller)
        os.close(terminal)
    assert result.returncode == 2
    assert "-p TEXT" in result.stderr
    assert result.stdout == ""


def test_a_prompt_that_is_no_text_is_wrong_usage(program):
    result = program(*GREEDY, "-p", b"caf\xe9")
    assert result.returncode == 2
    assert "not valid UTF-8" in result.stderr


def test_without_a_model_is_wrong_usage(llmb, opened):
    result = llmb("generate", "text", "-p", "x")
    assert result.exit_code == 2
    assert "llmb generate MODEL -p TEXT" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("text", "bundle", "-p", "x"),
        ("bundle", "-p", "x"),
        ("-p", "x", "bundle"),
        ("-m", "bundle", "-p", "x"),
        ("--model=bundle", "-p", "x"),
    ],
    ids=" ".join,
)
def test_the_model_is_an_argument_and_text_what_is_done_if_nothing_else_is_said(
    llmb, opened, answer, arguments
):
    result = llmb("generate", *arguments, "--greedy")
    assert result.stdout == answer + "\n"
    assert opened[0]["model"] == Path("bundle")


def test_the_name_of_a_command_is_that_and_not_a_models(llmb, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("batch").mkdir()
    result = llmb("generate", "batch", "-p", "x")
    assert result.exit_code == 2
    assert llmb("generate", "./batch", "-p", "x").exit_code == 0
    assert opened[0]["model"] == Path("batch")


def test_a_command_that_is_misspelt_is_not_taken_for_a_model(llmb, opened):
    result = llmb("generate", "batc", "in.jsonl", "out.jsonl")
    assert result.exit_code == 2
    assert "Did you mean 'batch'?" in result.stderr


def test_a_model_that_is_named_twice_is_wrong_usage(llmb, opened):
    result = llmb("generate", "one", "-m", "two", "-p", "x")
    assert result.exit_code == 2
    assert "named twice, as one and as two" in result.stderr


@pytest.mark.parametrize("form", [(), ("--json",), ("--set", "num_beams=2")])
def test_verbose_tells_tokens_and_speed_on_stderr(llmb, opened, answer, form):
    plain = llmb(*GREEDY, "-p", "Say: ", *form)
    result = llmb(*GREEDY, "-p", "Say: ", "--verbose", *form)
    assert "--json" in form or result.stdout == plain.stdout
    tokens = len(answer.encode()) + 1
    assert re.fullmatch(
        rf"prompt: 5 tokens, first token after [\d.]+ s; text: {tokens} tokens, [\d.]+/s; ended by: eos\n",
        result.stderr,
    )


def test_json_describes_the_completion(llmb, opened, answer):
    completion = json.loads(llmb(*GREEDY, "-p", "Say: ", "--json").stdout)
    assert completion["text"] == answer
    assert completion["finish_reason"] == "eos"
    assert completion["prompt_tokens"] == 5
    assert completion["new_tokens"] == len(completion["token_ids"]) == len(answer.encode()) + 1
    assert {"truncated_tokens", "seconds_to_first_token", "tokens_per_second"} <= completion.keys()
    assert "logprobs" not in completion


def test_json_has_one_line_for_each_returned_sequence(llmb, opened):
    arguments = ("--json", "--seed", "1", "--set", "num_return_sequences=3", "--set", "logprobs=0")
    lines = llmb("generate", "text", "-m", "bundle", "-p", "x", *arguments).stdout.splitlines()
    completions = [json.loads(line) for line in lines]
    assert len(completions) == 3
    assert all(len(c["logprobs"]) == c["new_tokens"] for c in completions)


@pytest.mark.parametrize(
    ("arguments", "option", "value"),
    [
        (("--max-tokens", "7"), "max_new_tokens", 7),
        (("--temperature", "0.5"), "temperature", 0.5),
        (("--top-k", "0"), "top_k", 0),
        (("--top-p", "0.25"), "top_p", 0.25),
        (("--min-p", "0.1"), "min_p", 0.1),
        (("--repetition-penalty", "1.5"), "repetition_penalty", 1.5),
        (("--stop", "a", "--stop", "b c"), "stop_strings", ["a", "b c"]),
        (("--greedy",), "do_sample", False),
        (("--temperature", "0"), "do_sample", False),
        (("--set", "temperature=0.0"), "do_sample", False),
        (("--seed", "5"), "seed", 5),
        (("--set", "min_new_tokens=3"), "min_new_tokens", 3),
        (("--set", "top_p=null"), "top_p", None),
        (("--set", "context_overflow=stop"), "context_overflow", "stop"),
    ],
)
def test_an_option_given_becomes_an_override_and_others_are_left_to_the_bundle(
    llmb, opened, monkeypatch, arguments, option, value
):
    seen = {}
    monkeypatch.setattr(
        "llmbuilder.generator.TextGenerator.pieces",
        lambda _, prompt, **overrides: seen.update(overrides) or iter(()),
    )
    assert llmb("generate", "text", "-m", "bundle", "-p", "x", *arguments).exit_code == 0
    assert seen == {option: value}


def test_stop_strings_end_the_text(llmb, opened):
    assert llmb(*GREEDY, "-p", "x", "--stop", " and").stdout == "a fox, Łódź\n"


def test_set_needs_a_name_and_a_value(llmb, opened):
    result = llmb(*GREEDY, "-p", "x", "--set", "seed")
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.stderr


def test_an_option_out_of_range_is_a_failure(llmb, opened):
    result = llmb(*GREEDY, "-p", "x", "--temperature", "-1")
    assert result.exit_code == 1
    assert isinstance(result.exception, ConfigError)


def test_interrupting_exits_with_130(llmb, opened, monkeypatch):
    def interrupt(*_: object, **__: object) -> Iterator[str]:
        yield "half a st"
        raise KeyboardInterrupt

    monkeypatch.setattr("llmbuilder.generator.TextGenerator.pieces", interrupt)
    result = llmb(*GREEDY, "-p", "x")
    assert result.exit_code == 130
    assert result.stdout == "half a st"
    assert result.stderr == ""


def test_every_piece_is_flushed_before_the_next_is_computed(monkeypatch):
    class Pipe(io.StringIO):
        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)

    def pieces() -> Iterator[str]:
        for count in range(1, 4):
            yield "word "
            assert pipe.flushed == "word " * count

    answer.print_stream(pieces())
    assert pipe.getvalue() == "word word word \n"


def test_a_closed_pipe_ends_quietly():
    program = (
        "import llmbuilder.inference as inference\n"
        "from llmbuilder.testing import fake_engine, scripted\n"
        "from llmbuilder_cli.main import main\n"
        "engine = fake_engine(scripted('on and on ', end=False), context_length=100_000)\n"
        "make = inference.TextGenerator.from_engine\n"
        "inference.TextGenerator = lambda *_, **__: make(engine)\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, *GREEDY, "-p", "x", "--max-tokens", "20000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.read(10) == "on and on "
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_beam_search_is_printed_when_it_is_done(llmb, opened, answer):
    result = llmb(*GREEDY, "-p", "Tell me: ", "--set", "num_beams=2")
    assert result.stdout == answer + "\n"


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_a_pipe_through_which_nothing_comes_is_told(llmb, opened, stdin):
    result = llmb(*GREEDY, stdin=stdin)
    assert result.exit_code == 2
    assert "Nothing came through the pipe" in " ".join(result.stderr.split())
    assert opened == []
    assert llmb(*GREEDY, "-p", "").exit_code == 0
