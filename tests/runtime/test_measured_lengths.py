"""Texts of megabytes are refused where to judge them would take minutes, before anything is computed."""

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.filtering.output_filter import OutputFilter
from llmbuilder.quality.coherence import coherence
from llmbuilder.quality.evaluate import evaluate_generation

LONG = "a " * 5_000_000
COMPARED = "a " * 100_001


@pytest.mark.parametrize(
    "settings",
    [
        {"max_repetition": 0.5},
        {"coherence_threshold": 0.5},
        {"personal_data": "mask"},
        {"allowed_scripts": "latin"},
    ],
)
def test_a_filter_counts_the_characters_of_a_text_that_is_too_long(settings):
    with pytest.raises(
        ConfigError, match=r"text to filter has 10000000 characters, and may have 1000000\. Filter"
    ):
        OutputFilter.check(LONG, settings)
    with pytest.raises(ConfigError, match=r"prompt to filter has 10000000 characters"):
        OutputFilter.check("A fox.", settings, prompt=LONG)


def test_a_text_of_as_many_characters_as_are_allowed_is_filtered():
    assert OutputFilter.check("a" * 1_000_000, {"max_repetition": 0.5}).passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LONG,), r"A text has 10000000 characters, and may have 1000000\. Measure parts"),
        (("A fox.", None, LONG), r"A prompt has 10000000 characters, and may have 1000000\. Give its end"),
        (("A fox.", COMPARED), r"A reference has 200002 characters, and may have 200000\. Compare parts"),
        ((COMPARED, "A fox."), r"A text with a reference has 200002 characters, and may have 200000"),
        ((["A fox.", LONG],), "A text has 10000000 characters"),
    ],
)
def test_an_evaluation_counts_the_characters_of_what_is_too_long(arguments, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_generation(*arguments)


def test_what_follows_four_hundred_sentences_does_not_change_coherence():
    text = "".join(f"The fox saw {n} geese and he ran. " for n in range(400))
    assert coherence(text + "Blue stone when. " * 10_000) == coherence(text)


def test_words_that_all_differ_need_little_memory():
    sentence = " ".join("W" + "".join(chr(97 + n // 26**k % 26) for k in range(4)) for n in range(1000))
    text = "".join(f"{sentence} x{number}. " for number in range(150))
    assert 0 <= coherence(text) <= 1
