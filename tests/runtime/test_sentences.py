"""One rule for where sentences end, for all who cut or count them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.quality.text import sentences
from llmbuilder.sentences import is_whole, sentence_ends
from llmbuilder.writing.lengths import cut_at_last_sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!"]),
        ("He met Prof. Smith. She left.", ["He met Prof. Smith."]),
        ("J. R. R. Tolkien wrote. People read.", ["J. R. R. Tolkien wrote."]),
        ('"Go!" said Tom. "No." He stayed.', ['"Go!" said Tom.', '"No."']),
        ("It rained...\nThen it stopped.", ["It rained..."]),
        ("no end", []),
    ],
)
def test_they_end_at_marks_before_a_capital_but_not_after_abbreviations(text, expected):
    ends = [0, *sentence_ends(text)]
    assert [text[a:b].strip() for a, b in itertools.pairwise(ends)] == expected


def test_the_last_one_is_whole_if_it_ends_with_a_mark():
    assert is_whole("It rained. ")
    assert is_whole('He said "No."')
    assert not is_whole("He met Mr.")
    assert not is_whole("It rained and")


@given(
    st.lists(
        st.sampled_from(["Mr. ", "Tom ", "ran. ", "Prof. ", '"No!" ', "No. ", "and ", "A. "]), max_size=9
    )
)
def test_who_cuts_and_who_counts_agree(parts):
    text = "".join(parts).strip()
    cut = cut_at_last_sentence(text)
    assert sentences(text)[: len(sentences(cut))] == sentences(cut)
