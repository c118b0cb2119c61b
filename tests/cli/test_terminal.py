"""Sessions in a real terminal, typed at by a program."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals are there on POSIX only")

STORYTELLER = Path(__file__).parents[2] / "artifacts" / "storyteller"
BUNDLE = str(STORYTELLER / "bundle")
WAIT = 120
UP, CTRL_C, CTRL_D, TAB = "\x1b[A", "\x03", "\x04", "\t"
ENDLESS = ["--max-tokens", "1000000", "--set", "early_stopping=false"]


@pytest.fixture
def spawn(tmp_path):
    """Start ``llmb ARGUMENTS`` in a terminal of its own, with a home of its own."""
    children = []

    def start(*arguments, program=("-m", "llmbuilder_cli")):
        child = pexpect.spawn(
            sys.executable,
            [*program, *map(str, arguments)],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PROMPT_TOOLKIT_NO_CPR": "1"},
            cwd=str(tmp_path),
            encoding="utf-8",
            timeout=WAIT,
            dimensions=(50, 200),
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


def leave(child, how="/quit\r"):
    child.expect_exact("You:")
    child.send(how)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_answers_stream_and_ctrl_c_stops_one_but_not_the_session(spawn):
    child = spawn("chat", "-m", BUNDLE, "--seed", "1", *ENDLESS)
    child.expect_exact("/help lists the commands")
    child.expect_exact("You:")
    child.send("Once upon a time\r")
    child.expect_exact("AI: ")
    child.expect(r"\w+ \w+ \w+")  # while a million tokens are on their way
    child.send(CTRL_C)
    child.expect_exact("(stopped)")
    child.expect_exact("You:")
    child.send("/set max_new_tokens 5\r")
    child.expect_exact("max_new_tokens = 5")
    child.expect_exact("You:")
    child.send("The end\r")
    child.expect_exact("AI: ")
    leave(child)


def test_lines_are_remembered_within_a_session_and_by_the_next(spawn):
    for line in ("/set seed 11\r", UP + "\r"):
        child = spawn("generate", "text", "-i", "-m", BUNDLE)
        child.expect_exact("You:")
        child.send(line)
        child.expect_exact("seed = 11")
        child.expect_exact("You:")
        child.send(UP + "\r")
        child.expect_exact("seed = 11")
        leave(child, CTRL_D)


def test_commands_and_options_are_completed(spawn):
    child = spawn("chat", "-m", BUNDLE)
    child.expect_exact("You:")
    child.send(f"/sett{TAB}")
    child.expect_exact("ings")
    child.send("\r")
    child.expect_exact("max_new_tokens = 100")
    child.expect_exact("You:")
    child.send(f"/set repet{TAB}")
    child.expect_exact("ition_penalty")
    child.send(" 1.5\r")
    child.expect_exact("repetition_penalty = 1.5")
    leave(child)


def test_ctrl_c_at_the_prompt_forgets_the_line(spawn):
    child = spawn("chat", "-m", BUNDLE)
    child.expect_exact("You:")
    child.send("never mind" + CTRL_C)
    child.expect_exact("/quit or Ctrl-D leaves.")
    leave(child, CTRL_D)


def test_setup_asks_until_answers_are_right_and_ends_with_the_command(spawn, tmp_path):
    child = spawn("generate", "text", "--setup")
    answers = [
        ("Model", "nowhere", "There is nothing at nowhere"),
        ("Model", str(STORYTELLER.parent), "is no bundle"),
        ("Model", BUNDLE, None),
        ("Tokenizer", "", None),
        ("Mode", "dance", "Answer text or interactive"),
        ("Mode", "text", None),
        ("Prompt", "", "Give a text to continue"),
        ("Prompt", "It's a fox", None),
        ("Most tokens", "none", "max_new_tokens must be"),
        ("Most tokens", "12", None),
        ("Temperature", "-1", "do_sample=False"),
        ("Temperature", "0.5", None),
        ("Likeliest tokens", "", None),
        ("Probability mass", "1", None),
        ("Repetition penalty", "", None),
        ("Seed", "3", None),
    ]
    for question, answer, complaint in answers:
        child.expect_exact(question)
        child.expect_exact(":")
        child.send(answer + "\r")
        if complaint:
            child.expect_exact(complaint)
    child.expect_exact("The same without questions:")
    command = child.expect(r"(llmb generate text [^\r\n]+)") == 0 and child.match[1]
    shown = child.read()
    child.wait()
    assert child.exitstatus == 0
    expected = (
        f"llmb generate text --model {shlex.quote(BUNDLE)} --prompt 'It'\"'\"'s a fox' "
        "--max-tokens 12 --temperature 0.5 --top-p 1 --seed 3"
    )
    assert command == expected
    again = spawn(*shlex.split(command)[1:])
    assert plain(again.read()) in plain(shown)


def test_a_terminal_without_a_model_is_asked(spawn):
    child = spawn("generate", "text")
    child.expect_exact("Model")
    child.send(CTRL_C)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130


def test_setup_leads_into_a_session(spawn):
    child = spawn("generate", "text", "--setup", "-m", BUNDLE)
    for question, answer in [("Model", ""), ("Tokenizer", ""), ("Mode", "i")] + [("]:", "")] * 6:
        child.expect_exact(question)
        child.send(answer + "\r")
    child.expect(r"llmb generate text --model \S+ --interactive\r\n")
    leave(child)


def plain(text):
    """What stays, without the terminal's control sequences."""
    text = re.sub(r"[^\n]*\r\x1b\[K", "", text)  # said as long as something went on
    return re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", text).strip()


def test_a_program_with_an_event_loop_may_hold_a_session(spawn):
    program = (
        "import asyncio, sys, llmbuilder as lb\n"
        "async def main():\n    lb.ChatInterface(sys.argv[1], max_new_tokens=5, seed=1).start()\n"
        "asyncio.run(main())\n"
    )
    child = spawn(BUNDLE, program=("-c", program))
    child.expect_exact("You:")
    child.send("Once upon a time\r")
    child.expect(r"AI: (\x1b\[0m)?\w+")
    child.expect_exact("You:")
    child.send(CTRL_C)
    child.expect_exact("leaves.")
    leave(child, CTRL_D)
