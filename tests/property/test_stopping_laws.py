from hypothesis import given, settings
from hypothesis import strategies as st

from llmbuilder.decoding.stopping import BEGINNING, StopMatcher

often = settings(max_examples=200, derandomize=True)

letters = st.text("ab🦊", max_size=12)
stop_strings = st.lists(st.text("ab🦊", min_size=1, max_size=4), max_size=3)
spelling = st.lists(st.text("ab<>", min_size=1, max_size=5), max_size=3)


@st.composite
def cut(draw):
    """A text in pieces, some of them empty."""
    text = draw(letters)
    at = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return text, [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]


def run(matcher, pieces):
    """Shown text, held text and whether it stopped, after each piece."""
    place, shown = BEGINNING, ""
    for piece in pieces:
        text, place, stopped = matcher.advance(place, piece)
        shown += text
        yield shown, place.held, stopped
        if stopped:
            return


def expected(text, stops):
    """The text up to the stop string whose end comes first (of those, the longest), and whether there is one."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return (text[: min(ends)[1]], True) if ends else (text, False)


@often
@given(cut(), stop_strings)
def test_the_result_is_that_of_searching_the_whole_text_however_it_is_cut(cut, stops):
    text, pieces = cut
    *_, (shown, held, stopped) = run(StopMatcher(stops), pieces)
    assert (shown + held, stopped) == expected(text, stops)


@often
@given(cut(), stop_strings)
def test_what_is_held_is_the_longest_beginning_of_a_stop_string_at_the_end(cut, stops):
    _, pieces = cut
    seen = ""
    for piece, (shown, held, stopped) in zip(pieces, run(StopMatcher(stops), pieces), strict=False):
        seen += piece
        if stopped:
            assert held == ""
            continue
        assert shown + held == seen
        beginnings = {stop[:n] for stop in stops for n in range(len(stop))} | {""}
        assert held == max((b for b in beginnings if seen.endswith(b)), key=len)


@often
@given(cut(), st.text("ab", min_size=1, max_size=4))
def test_one_stop_string_acts_like_str_find(cut, stop):
    text, pieces = cut
    *_, (shown, held, stopped) = run(StopMatcher([stop]), pieces)
    at = text.find(stop)
    assert (shown + held, stopped) == ((text, False) if at < 0 else (text[:at], True))


@often
@given(
    st.lists(st.tuples(st.text("ab<", max_size=4), st.sampled_from(["", "<a>", "b"])), max_size=5), spelling
)
def test_with_control_tokens_spelled_out_the_earlier_end_counts(pieces, stops):
    """``pieces``: text, and how the control token after it is spelled."""
    matcher, place, shown, stopped = StopMatcher(stops), BEGINNING, "", False
    for piece, control in pieces:
        text, place, stopped = matcher.advance(place, piece, control)
        shown += text
        if stopped:
            break
    assert (shown + place.held, stopped) == expected_spelled(pieces, stops)


def expected_spelled(pieces, stops):
    """The text before the first of all ends of stop strings, of the text and of that with control tokens."""
    plain, spelled, is_text = "", "", []
    for piece, control in pieces:
        plain, spelled = plain + piece, spelled + piece + control
        is_text += [True] * len(piece) + [False] * len(control)
    where = [n for n, character in enumerate(is_text) if character]
    ends = []
    for stop in stops:
        if stop in plain:
            first = plain.find(stop)
            ends.append((where[first + len(stop) - 1] + 1, first))
        if stop in spelled:
            first = spelled.find(stop)
            ends.append((first + len(stop), sum(is_text[:first])))
    return (plain[: min(ends)[1]], True) if ends else (plain, False)
