"""What every error's message has in common."""

import pickle

import pytest

from llmbuilder import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.LLMBuilderError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_kept_as_it_is(kind):
    message = "Łódź is not a café 🦊.\nName another."
    assert str(kind(message)) == message
    assert str(pickle.loads(pickle.dumps(kind(message)))) == message  # noqa: S301 (made here)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["x", "\x1b", "\ud800", "🦊"])
def test_a_message_is_short_and_keeps_its_advice_whatever_is_in_it(kind, part):
    message = str(kind(f"The prompt is wrong: {part * 10_000_000}. Name another."))
    assert len(message) <= 500
    assert message.startswith("The prompt is wrong: ")
    assert message.endswith(". Name another.")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\tc\0", r"a\rb\tc\x00"),
        ("\x9b2J", r"\x9b2J"),
        ("\x7f", r"\x7f"),
        ("\u202eevil", r"\u202eevil"),
        ("half \ud83e", r"half \ud83e"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(raw, shown):
    assert str(errors.ConfigError(raw)) == shown
