"""A stop string that spells a control token, through every way in which a text is made."""

import numpy as np
import pytest

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import BOS, BYTE_VOCAB, EOS, fake_engine

SAID = [*b"hi ", BOS, *b"ho", EOS]
OPTIONS = {"stop_strings": ["<s>"], "max_new_tokens": 8, "do_sample": False}


def says(ids):
    """The prompt ``p`` is followed by `SAID`."""
    logits = np.full(BYTE_VOCAB, -20.0, np.float32)
    logits[[*SAID, *SAID][(len(ids) - 1) % len(SAID)]] = 0.0
    return logits


@pytest.fixture
def generator():
    return TextGenerator.from_engine(fake_engine(says))


@pytest.mark.parametrize("beams", [1, 3])
def test_completions_end_where_the_token_comes(generator, beams):
    (completion,) = generator.complete("p", **OPTIONS, num_beams=beams)
    assert (completion.text, completion.finish_reason) == ("hi ", "stop")
    assert completion.token_ids == (*b"hi ", BOS)


def test_streams_show_what_is_before_it(generator):
    assert "".join(generator.stream("p", **OPTIONS)) == "hi "


def test_batches_are_the_same(generator):
    assert generator.generate_batch(["p"] * 3, **OPTIONS) == ["hi "] * 3


def test_prompt_lookup_ends_there_too(generator):
    (completion,) = generator.complete("phi ", **OPTIONS, prompt_lookup_num_tokens=3)
    assert (completion.text, completion.finish_reason) == ("", "stop")


@pytest.mark.parametrize(
    ("stops", "text"),
    [(["<s>h"], "hi "), (["i <s>ho"], "h"), (["i ho"], "h"), (["o", "<s>ho"], "hi "), (["<s>o"], None)],
)
def test_it_may_reach_over_the_token_or_leave_it_out(generator, stops, text):
    (completion,) = generator.complete("p", **OPTIONS | {"stop_strings": stops, "max_new_tokens": 6})
    assert (completion.text, completion.finish_reason) == (
        ("hi ho", "length") if text is None else (text, "stop")
    )


@pytest.mark.parametrize("beams", [1, 3])
def test_an_eos_that_it_spells_is_an_eos_as_long_as_that_ends_texts(generator, beams):
    options = OPTIONS | {"stop_strings": ["</s>"], "num_beams": beams}
    (completion,) = generator.complete("p", **options)
    assert (completion.text, completion.finish_reason) == ("hi ho", "eos")


def test_an_eos_that_ends_nothing_is_a_stop_string_if_it_is_spelled(generator):
    (completion,) = generator.complete("p", **OPTIONS | {"stop_strings": ["</s>"]}, early_stopping=False)
    assert (completion.text, completion.finish_reason) == ("hi ho", "stop")
