"""Each kind of error that a text shows by itself."""

import pytest

from llmbuilder.filtering.facts.arithmetic import wrong_sums
from llmbuilder.filtering.facts.contradictions import contradictions
from llmbuilder.filtering.facts.dates import impossible_dates
from llmbuilder.filtering.facts.given import against_prompt
from llmbuilder.filtering.facts.numbers import in_digits


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("Twelve of 1,000", "12 of 1000"),
        ("twenty-one five hundred", "21 500"),
        ("someone often won 3.50", "someone often won 3.5"),
    ],
)
def test_numbers_are_read_as_digits_or_words(text, digits):
    assert in_digits(text) == digits


@pytest.mark.parametrize(
    "text", ["2 + 3 * 4 = 20", "10/4=2.6", "seven times eight is 54", "25% of 80 is 25", "1,000 + 1 = 1,000"]
)
def test_wrong_sums_are_found(text):
    assert len(list(wrong_sums(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "2 + 3 * 4 = 14",
        "10 / 3 = 3.33",
        "2 - 3 = -1",
        "x + 2 + 2 = 5",
        "2 + 2 = 4 + 0",
        "2 + 2 is not 5",
        "5 / 0 = 3",
        "half of 9 is 4.5",
    ],
)
def test_right_or_unclear_sums_pass(text):
    assert list(wrong_sums(text)) == []


@pytest.mark.parametrize(
    "text", ["the 31st of April", "February 29, 1900", "2024-02-30", "at 24:75", "13:70 pm"]
)
def test_days_and_times_that_do_not_exist_are_found(text):
    assert list(impossible_dates(text))


@pytest.mark.parametrize(
    "text", ["February 29", "29 February 2024", "May 2023", "a ratio of 30:70", "1999-12-31"]
)
def test_other_days_and_times_pass(text):
    assert list(impossible_dates(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "The shop is open. The shop isn't open.",
        "Paul is nine years old. Paul is ten years old.",
        "The name of the king is Olaf. The name of the king is Harald.",
        "Eva was born in Rome in 1901. Eva was born in 1911.",
    ],
)
def test_contradictions_are_found(text):
    assert len(list(contradictions(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "The shop was open. Then night came. The shop was not open.",
        "Is the shop open? The shop is not open.",
        "The shop is open. The shop is no longer open.",
        "Paul said that the shop is open. The shop is not open.",
        "The name of the king is Olaf. The name of the king is Olaf the Bold.",
    ],
)
def test_changes_questions_and_reports_pass(text):
    assert list(contradictions(text)) == []


def test_each_sentence_contradicts_the_first_of_its_kind_only():
    ages = " ".join(f"Paul is {age} years old." for age in range(2000))
    assert len(list(contradictions(ages))) == 1999
    assert (
        len(list(contradictions("The shop is open. It is late. The shop isn't open. The shop is open."))) == 1
    )


def test_another_name_or_year_than_the_prompts_is_found():
    assert list(against_prompt("A dog named Rex", "A dog named Max"))
    assert not list(against_prompt("A dog named Max and a cat named Rex", "A dog named Max"))
    assert list(against_prompt("It was built in 1900.", "The tower, built in 1910"))


def test_numbers_may_change_when_the_text_says_so():
    prompt = "Ben has three apples."
    assert list(against_prompt("Ben looks at his five apples.", prompt))
    assert not list(against_prompt("Ben ate one of his 3 apples. The 2 apples lie there.", prompt))
    assert not list(against_prompt("Ben bought five apples.", prompt))
