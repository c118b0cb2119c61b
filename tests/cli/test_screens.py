"""Sessions on screens of other widths and kinds, and through pipes."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmbuilder.sessions.screen import is_coloured

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals are there on POSIX only")

BUNDLE = str(Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle")
CHAT = ["-m", "llmbuilder_cli", "generate", "text", "-i", "-m", BUNDLE, "--seed", "1"]
SHORT = ["--max-tokens", "60", "--set", "early_stopping=false"]
LONG = ["--max-tokens", "500", "--set", "early_stopping=false"]
PROMPT = "Once upon a time"
SEQUENCE = re.compile(r"\x1b\[[?\d;]*[a-zA-Z]")


@pytest.fixture
def screen(tmp_path):
    """Start a session on a screen of a width, with more environment variables."""
    children = []

    def start(columns, *arguments, **variables):
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        homes = {"XDG_CACHE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
        child = pexpect.spawn(
            sys.executable,
            [*CHAT, *arguments],
            env=inherited | homes | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"} | variables,
            encoding="utf-8",
            timeout=120,
            dimensions=(50, columns),
        )
        children.append(child)
        child.expect_exact("You:")
        return child

    yield start
    for child in children:
        child.close(force=True)


def answer_of(child, line=PROMPT):
    """What stands on the screen between a line and the next question."""
    child.send(line + "\r")
    child.expect_exact(line)  # as it is echoed
    child.expect_exact("\n")
    child.expect_exact("You:")
    return SEQUENCE.sub("", child.before).replace("\r", "").strip()


@pytest.fixture(scope="module")
def whole():
    """The answer, through pipes: nothing but the text."""
    done = subprocess.run(
        [sys.executable, *CHAT, *SHORT], input=f"{PROMPT}\n", capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("columns", [40, 120])
def test_answers_and_help_break_between_words_at_the_width_of_the_screen(screen, whole, columns):
    child = screen(columns, *SHORT)
    lines = answer_of(child).split("\n")
    assert all(len(line) <= columns for line in lines)
    assert " ".join(lines).split() == whole.split()
    assert len(lines) >= len(whole) / columns
    help_lines = answer_of(child, "/help").split("\n")
    assert all(len(line) <= columns for line in help_lines)
    assert "change a setting: any option of GenerationConfig" in " ".join(" ".join(help_lines).split())


def test_pipes_get_the_text_as_it_is(whole):
    assert whole.count("\n") == 1
    assert "\x1b" not in whole
    assert len(whole) > 120


def test_what_is_typed_during_an_answer_waits_for_the_next_question(screen):
    child = screen(80, *LONG)
    child.send(PROMPT + "\r")
    child.expect_exact(PROMPT)
    child.expect(r"\w+ \w+ \w+ ")
    child.send("/settings\r")
    child.expect_exact("You:")
    assert "/settings" not in child.before
    child.expect_exact("max_new_tokens = 500")


@pytest.mark.parametrize(
    ("variables", "is_terminal", "expected"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_colours_are_for_terminals_whose_users_want_them(monkeypatch, variables, is_terminal, expected):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_coloured(stream) is expected


def test_a_screen_that_can_do_nothing_gets_text_alone(screen, whole):
    child = screen(60, *SHORT, TERM="dumb")
    child.send(PROMPT + "\r")
    child.expect_exact("You:")
    lines = child.before.replace("\r", "").split("\n")
    text = [line for line in lines if PROMPT not in line]
    assert " ".join(text).split() == whole.split()
    assert "\x1b[3" not in child.before


def test_a_pipe_of_another_encoding_gets_what_it_can_hold():
    encoding = "latin-1"
    done = subprocess.run(
        [sys.executable, *CHAT, "--max-tokens", "2"],
        input=f"/system é🦊\n{PROMPT}\n/settings\n".encode(encoding, "replace"),
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=True,
    )
    assert done.stdout.decode(encoding).count("\n") == 1
    assert "max_new_tokens = 2" in done.stderr.decode(encoding)
