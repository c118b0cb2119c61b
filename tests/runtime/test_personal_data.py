"""Personal data, found by form and checksum."""

import pytest

from llmbuilder.filtering.personal import find_personal, mask_personal


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("first.last+tag@mail.example.co.uk", "e-mail address"),
        ("+1 (555) 012-3456", "phone number"),
        ("call 212-555-0123 now", "phone number"),
        ("(020) 7946 0958", "phone number"),
        ("4111 1111 1111 1111", "card number"),
        ("DE89 3704 0044 0532 0130 00", "account number"),
        ("123-45-6789", "social security number"),
        ("from 192.168.0.1.", "IP address"),
    ],
)
def test_is_found(text, kind):
    assert [found.kind for found in find_personal(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "In 1914-1918 there was a war, and 1,234,567 people moved.",
        "Version 1.2.3 of 2024-01-31 costs 12.50.",
        "4111 1111 1111 1112 has a wrong checksum.",
        "0000 0000 0000 0000",
        "Pages 120-135, 300-4000 and chapter 10.",
        "999.1.1.1",
        "He shouted @home and left.",
        "",
    ],
)
def test_other_numbers_are_left_alone(text):
    assert find_personal(text) == []


def test_masking_keeps_the_rest_of_the_text():
    assert mask_personal("a@b.cd, 212-555-0123, ok 7") == "*@*.**, ***-***-****, ok 7"
