"""Answers are broken between words, however they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.sessions.wrapping import Wrapper, cells, wrapped


def shown(text, width, column=0, size=1):
    wrapper = Wrapper(width, column)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return "".join(map(wrapper.feed, pieces)) + wrapper.end()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("He heard a sound.", ["He heard a", "sound."]),
        ("one\n\n  two three", ["one", "", "  two", "three"]),
        ("a  b", ["a  b"]),
        ("1234567890 a", ["1234567890", "a"]),
        ("a 123456789012", ["a", "1234567890", "12"]),
        ("日本語の文です。長い", ["日本語の文", "です。長い"]),
        ("e\u0301e\u0301e\u0301e\u0301e\u0301 fuchsia", ["e\u0301e\u0301e\u0301e\u0301e\u0301", "fuchsia"]),
    ],
)
def test_lines_end_between_words(text, lines):
    assert shown(text, 10).split("\n") == lines


def test_what_stands_before_an_answer_takes_its_room():
    assert shown("one two", 10, column=4) == "one\ntwo"


@given(st.text(alphabet="ab \n\t日é", max_size=60), st.integers(1, 12), st.integers(1, 9))
def test_every_way_of_cutting_a_text_into_pieces_shows_the_same(text, width, size):
    whole = shown(text, width, size=len(text) or 1)
    assert shown(text, width, size=size) == whole
    assert "".join(whole.split()) == "".join(text.split())


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=8), min_size=1), st.integers(8, 20))
def test_no_line_is_longer_than_the_screen_and_no_word_is_cut(words, width):
    lines = shown(" ".join(words), width).split("\n")
    assert all(cells(line) <= width for line in lines)
    assert " ".join(lines).split() == words


def test_a_note_goes_on_below_its_beginning():
    assert wrapped("/set NAME VALUE    change a setting of the chat", 30, 4) == (
        "/set NAME VALUE    change a\n    setting of the chat"
    )
