import itertools

import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.continuation import Continuation, TextStream
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.stopping import StopMatcher
from llmbuilder.detokenizer import Detokenizer
from llmbuilder.testing import BOS, EOS, ByteTokenizer


def begun(script, prompt=b"ab", room=100, **options):
    """A continuation that will say ``script`` (bytes or ids), one second a token."""
    config = GenerationConfig(**options)
    tokens = iter(script)
    detokenizer = Detokenizer(ByteTokenizer())
    continuation = Continuation(
        Prompt(tuple(prompt), "", config, (EOS,), context_length=64, max_new_tokens=room),
        lambda logits, new_ids: next(tokens),
        TextStream(detokenizer, StopMatcher(config.stop_strings or ()), detokenizer.start(prompt)),
        clock=itertools.count(10.0).__next__,
    )
    continuation.start()
    return continuation


def run(continuation):
    while continuation.finish_reason is None:
        continuation.accept(None)
    return continuation.completion()


def test_eos_ends_it_and_is_no_text():
    completion = run(begun([*b"hi", EOS]))
    assert (completion.finish_reason, completion.text, completion.token_ids) == ("eos", "hi", (*b"hi", EOS))


def test_early_stopping_false_goes_past_eos():
    completion = run(begun([*b"hi", EOS, *b"ho"], room=5, early_stopping=False))
    assert (completion.finish_reason, completion.text) == ("length", "hiho")


def test_the_limit_of_tokens_ends_it():
    completion = run(begun(b"hello", room=3))
    assert (completion.finish_reason, completion.text) == ("length", "hel")


def test_a_stop_string_ends_it_and_is_cut_off():
    completion = run(begun(b"one END two", stop_strings="END"))
    assert (completion.finish_reason, completion.text, bytes(completion.token_ids)) == (
        "stop",
        "one ",
        b"one END",
    )


def test_a_stop_string_that_spells_a_control_token_ends_it_where_that_token_comes():
    outcome = run(begun([*b"hi", BOS, *b"ho"], stop_strings="<s>"))
    assert (outcome.finish_reason, outcome.text, outcome.token_ids) == ("stop", "hi", (*b"hi", BOS))


def test_eos_still_ends_it_with_eos_unless_it_is_to_go_past_it():
    assert run(begun([*b"hi", EOS], stop_strings="</s>")).finish_reason == "eos"
    outcome = run(begun([*b"hi", EOS, *b"ho"], stop_strings="i</s>", early_stopping=False))
    assert (outcome.finish_reason, outcome.text) == ("stop", "h")


def test_half_a_character_before_a_control_token_that_stops_is_text():
    assert run(begun([*"a🦊".encode()[:3], BOS], stop_strings="<s>")).text == "a\N{REPLACEMENT CHARACTER}"


def test_a_stop_string_does_not_begin_in_the_prompt():
    completion = run(begun(b"ND END", prompt=b"the E", stop_strings="END"))
    assert completion.text == "ND "


def test_a_stop_string_that_ends_with_the_last_token_counts_as_stop():
    assert run(begun(b"xEND", room=4, stop_strings="END")).finish_reason == "stop"


@pytest.mark.parametrize("end", [b"", [EOS]])
def test_half_a_stop_string_is_text_when_the_end_comes(end):
    completion = run(begun([*b"xEN", *end], room=3 + len(end), stop_strings="END"))
    assert completion.text == "xEN"


def test_half_a_character_is_text_when_the_end_comes():
    assert run(begun("a🦊".encode(), room=3)).text == "a\N{REPLACEMENT CHARACTER}"


def test_half_a_character_may_complete_a_stop_string_at_the_end():
    completion = run(begun("a🦊".encode(), room=3, stop_strings="\N{REPLACEMENT CHARACTER}"))
    assert (completion.finish_reason, completion.text) == ("stop", "a")


def test_max_time_ends_it_after_the_token_that_exceeds_it():
    completion = run(begun(b"hello", max_time=2.5))
    assert (completion.finish_reason, completion.text) == ("time", "hel")


def test_however_little_time_there_is_one_token_is_made():
    assert run(begun(b"hello", max_time=1e-9)).text == "h"


def test_times_are_those_of_start_first_and_last_token():
    completion = run(begun(b"hello", room=3))
    assert (completion.seconds_to_first_token, completion.tokens_per_second) == (1.0, 1.0)


@pytest.mark.parametrize(("count", "tail"), [(0, b""), (1, b"y"), (2, b"xy"), (3, b"bxy"), (4, b"abxy")])
def test_the_tail_reaches_back_into_the_prompt(count, tail):
    continuation = begun(b"xy", room=2)
    run(continuation)
    assert bytes(continuation.tail(count)) == tail


def test_the_tail_of_nothing_new_is_the_prompts():
    assert bytes(begun(b"").tail(1)) == b"b"
