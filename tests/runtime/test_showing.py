import json

import pytest

from llmbuilder.sessions.terminal import open_terminal
from llmbuilder.showing import legible, printable, writable, writable_json

TEXT = "Łódź é🦊 \ud83e"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16", None])
def test_what_is_writable_can_be_written(encoding):
    text = writable(TEXT, encoding)
    assert text.encode(encoding or "utf-8")
    assert text.endswith(r"\ud83e")
    assert writable("plain", encoding) == "plain"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", None])
def test_json_says_the_same(encoding):
    value = {"text": TEXT + "\x9b\u202e"}
    written = writable_json(json.dumps(value, ensure_ascii=False, indent=1), encoding)
    assert json.loads(written) == value
    assert written.encode(encoding or "utf-8")
    assert "\x9b" not in written


def test_printable_text_keeps_lines_and_is_not_cut():
    assert printable("a\nb" * 1000) == "a\nb" * 1000
    assert printable("\x1b[2J\t") == r"\x1b[2J\t"
    assert len(legible("a" * 1000)) == 500


def test_a_session_without_the_command_line_writes_whatever_comes(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", out)
        terminal = open_terminal()
        with terminal.answering("AI: ") as write:
            write("é🦊")
        terminal.note("\x1bé")
    assert (tmp_path / "out").read_text() == "\\xe9\\U0001f98a\n\\x1b\\xe9\n"
