import pytest

from llmbuilder.decoding.stopping import BEGINNING, Matched, StopMatcher


def feed(stop_strings, pieces):
    """What a stream shows before it ends or stops, and whether it stopped; a control token is a piece in a list."""
    matcher, place, shown = StopMatcher(stop_strings), BEGINNING, ""
    for piece in pieces:
        text, place, stopped = matcher.advance(place, *(["", *piece] if isinstance(piece, list) else [piece]))
        shown += text
        if stopped:
            return shown, True
    return shown + place.held, False


def held_after(stop_strings, *pieces):
    """What each piece lets through, and what is held then."""
    matcher, place = StopMatcher(stop_strings), BEGINNING
    for piece in pieces:
        text, place, stopped = matcher.advance(place, piece)
        assert not stopped
        yield text, place.held


def test_without_stop_strings_everything_passes_at_once():
    assert list(held_after((), "text", " more")) == [("text", ""), (" more", "")]


def test_text_before_a_stop_string_is_shown_and_nothing_after_it():
    assert StopMatcher(["END"]).advance(BEGINNING, "a END b") == Matched("a ", BEGINNING, stopped=True)


def test_a_beginning_of_a_stop_string_is_held_back():
    assert list(held_after(["END"], "the E", "N")) == [("the ", "E"), ("", "EN")]


def test_held_text_is_shown_when_it_turns_out_to_be_harmless():
    assert list(held_after(["END"], "EN", "T"))[-1] == ("ENT", "")


def test_after_a_false_start_only_the_new_beginning_is_held():
    assert list(held_after(["aab"], "aa", "a"))[-1] == ("a", "aa")


@pytest.mark.parametrize(
    ("stops", "pieces", "shown"),
    [
        (["<e>"], ["hi", ["<e>"], "ho"], "hi"),
        (["<e>"], ["hi <", ["<e>"]], "hi <"),
        (["i<e>h"], ["hi", ["<e>"], "ho"], "h"),
        (["<e><f>"], ["hi", ["<e>"], ["<f>"]], "hi"),
        (["<e>", "i<e>"], ["hi", ["<e>"]], "h"),
        (["hiho"], ["hi", ["<e>"], "ho"], ""),
        (["iho", "<e>hox"], ["hi", ["<e>"], "hox"], "h"),
        (["ihox", "<e>ho"], ["hi", ["<e>"], "hox"], "hi"),
        (["e"], ["hi", ["<e>"]], "hi"),
    ],
)
def test_a_stop_string_may_spell_control_tokens_and_be_found_without_them(stops, pieces, shown):
    assert feed(stops, pieces) == (shown, True)


def test_control_tokens_that_end_nothing_leave_no_trace():
    assert feed(["<e>x", "hix"], ["hi", ["<e>"], "ho", ["<e>"]]) == ("hiho", False)


def test_ten_thousand_long_strings_are_one_machine():
    stops = [f"{n:05}" * 10 + "!" for n in range(10_000)]
    text = "00000" * 2_000 + "09999" * 10 + "!"
    assert feed(stops, [text]) == ("00000" * 2_000, True)


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
