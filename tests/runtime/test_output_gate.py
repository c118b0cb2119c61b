"""One filter for all texts of a run: what passes, what is masked, what is refused, and in whose words."""

import pytest

from llmbuilder.errors import ConfigError, ConstraintError
from llmbuilder.filtering import OutputGate


def test_a_text_that_passes_comes_through_masked():
    gate = OutputGate({"profanity_filter": True, "max_length": 100})
    assert gate.let_through("The shed was full of shit.") == "The shed was full of ****."


def test_a_refusal_says_which_settings_and_what_they_found():
    gate = OutputGate({"max_length": 3, "banned_patterns": ["fox"]})
    with pytest.raises(
        ConstraintError,
        match=r"refused\. max_length: 5 characters, more than 3\. banned_patterns: 'fox' matches\. Another seed",
    ):
        gate.let_through("a fox")


def test_one_is_one():
    with pytest.raises(ConstraintError, match="max_length: 1 character, more than 0"):
        OutputGate({"max_length": 0}).let_through("a")
    with pytest.raises(ConstraintError, match="1 letter of other scripts"):
        OutputGate({"allowed_scripts": ["latin"]}).let_through("aлb")


def test_the_prompt_is_looked_at_by_what_compares_with_it():
    gate = OutputGate({"factuality_check": True})
    assert gate.let_through("Ben looks at his five apples.") == "Ben looks at his five apples."
    with pytest.raises(ConstraintError, match="factuality_check"):
        gate.let_through("Ben looks at his five apples.", "Ben has three apples.")


def test_settings_are_checked_when_it_is_made():
    with pytest.raises(ConfigError, match="max_repetition"):
        OutputGate({"max_repetition": 2})


def test_it_speaks_in_the_words_of_who_made_it():
    with pytest.raises(ConfigError, match="MAX_REPETITION"):
        OutputGate({"max_repetition": 2}, str.upper)
    gate = OutputGate({"max_length": 3}, str.upper)
    with pytest.raises(ConstraintError, match=r"MAX_LENGTH: 5 CHARACTERS.* ANOTHER SEED"):
        gate.let_through("a fox")


def test_what_cannot_be_judged_is_told_in_these_words_too():
    with pytest.raises(ConfigError, match="THE TEXT TO FILTER"):
        OutputGate({"max_length": 3}, str.upper).let_through("a" * 1_000_001)


def test_pieces_come_through_as_one():
    gate = OutputGate({"profanity_filter": True})
    assert list(gate.whole(["sh", "it", " happens"])) == ["**** happens"]
