import pytest

from llmbuilder.filtering.pieces import pieces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        ("0123456789", ["0123456789"]),
        ("0123456789a", ["0123456789", "a"]),
        ("one two three", ["one two ", "three"]),
        ("One. Two two three", ["One. Two ", "two three"]),
        ("On one. Two two", ["On one. ", "Two two"]),
        ("on 1.\ntwo two two", ["on 1.\n", "two two ", "two"]),
    ],
)
def test_cuts_at_lines_sentences_and_words(text, expected):
    assert list(pieces(text, 10)) == expected


def test_pieces_together_are_the_text():
    text = "Some words.  And\n\nothers, " * 50 + "x" * 99
    for most in (1, 2, 3, 10, 100, 5000):
        found = list(pieces(text, most))
        assert "".join(found) == text
        assert max(map(len, found)) <= most
