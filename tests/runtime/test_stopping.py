import pytest

from llmbuilder.decoding.stopping import Matched, StopMatcher


def feed(stop_strings, pieces):
    """What a stream shows before it ends or stops, and whether it stopped."""
    matcher, held, shown = StopMatcher(stop_strings), "", ""
    for piece in pieces:
        text, held, stopped = matcher.advance(held, piece)
        shown += text
        if stopped:
            return shown, True
    return shown + held, False


def test_without_stop_strings_everything_passes_at_once():
    assert StopMatcher(()).advance("", "text") == Matched("text", "", stopped=False)


def test_text_before_a_stop_string_is_shown_and_nothing_after_it():
    assert StopMatcher(["END"]).advance("", "a END b") == Matched("a ", "", stopped=True)


def test_a_beginning_of_a_stop_string_is_held_back():
    assert StopMatcher(["END"]).advance("", "the E") == Matched("the ", "E", stopped=False)
    assert StopMatcher(["END"]).advance("E", "N") == Matched("", "EN", stopped=False)


def test_held_text_is_shown_when_it_turns_out_to_be_harmless():
    assert StopMatcher(["END"]).advance("EN", "T") == Matched("ENT", "", stopped=False)


def test_after_a_false_start_only_the_new_beginning_is_held():
    assert StopMatcher(["aab"]).advance("aa", "a") == Matched("a", "aa", stopped=False)


@pytest.mark.parametrize(
    ("stops", "text", "shown"),
    [
        (["\n"], "one\ntwo", "one"),
        (["b", "a"], "xay", "x"),
        (["longer", "on"], "a longer", "a l"),
        (["stop", "op"], "a stop", "a "),
        (["<|end|>"], "text <|en <|end|>", "text <|en "),
        (["aa"], "aaa", ""),
        (["abcdef", "cd"], "abcdef", "ab"),
        (["🦊"], "a 🦊 b", "a "),
    ],
)
def test_the_stop_string_complete_first_ends_the_text_however_it_arrives(stops, text, shown):
    assert feed(stops, [text]) == (shown, True)
    assert feed(stops, list(text)) == (shown, True)


def test_text_that_ends_in_half_a_stop_string_is_complete():
    assert feed(["END"], ["the ", "EN"]) == ("the EN", False)
