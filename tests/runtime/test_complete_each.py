"""Any number of prompts, each with its own options, as rows come free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError, ContextOverflowError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule

OPTIONS = {"early_stopping": False, "max_new_tokens": 5}


@pytest.fixture
def random():
    return TextGenerator.from_engine(fake_engine(random_rule()), GenerationConfig(**OPTIONS))


@given(
    st.lists(
        st.tuples(st.text("ab", min_size=1, max_size=6), st.integers(1, 9), st.integers(0, 3)), max_size=12
    ),
    st.integers(1, 4),
)
def test_each_prompt_gives_what_it_gives_alone(requests, batch_size):
    random = TextGenerator.from_engine(fake_engine(random_rule()), GenerationConfig(early_stopping=False))
    options = [{"max_new_tokens": tokens, "seed": seed} for _, tokens, seed in requests]
    prompts = [prompt for prompt, _, _ in requests]
    found = dict(random.complete_each(zip(prompts, options, strict=True), batch_size=batch_size))
    assert sorted(found) == list(range(len(requests)))
    for number, prompt in enumerate(prompts):
        (alone,) = random.complete(prompt, **options[number])
        (together,) = found[number]
        assert (together.token_ids, together.text) == (alone.token_ids, alone.text)


def test_a_short_prompt_is_done_before_a_long_one(random):
    requests = [
        ("long", {"max_new_tokens": 30}),
        ("short", {"max_new_tokens": 2}),
        ("next", {"max_new_tokens": 2}),
    ]
    assert [number for number, _ in random.complete_each(requests, batch_size=2)] == [1, 2, 0]


def test_no_more_rows_live_than_the_batch_size(random):
    list(random.complete_each([("abc", None)] * 10, batch_size=3))
    assert random._engine.model.most_rows == 3


def test_prompts_are_read_no_faster_than_rows_come_free(random):
    read = []

    def requests():
        for number in range(10):
            read.append(number)
            yield "abc", None

    each = random.complete_each(requests(), batch_size=2)
    next(each)
    assert len(read) <= 4


def test_a_bad_prompt_gives_its_error_and_the_others_their_text(random):
    requests = [
        ("a", None),
        ("b", {"temprature": 1}),
        ([999], None),
        ("c", {"context_overflow": "error", "max_new_tokens": 99}),
    ]
    found = dict(random.complete_each([*requests, ("d", None)]))
    assert isinstance(found[1], ConfigError)
    assert isinstance(found[2], ConfigError)
    assert isinstance(found[3], ContextOverflowError)
    assert [len(found[number][0].token_ids) for number in (0, 4)] == [5, 5]


def test_nothing_but_bad_prompts_gives_nothing_but_errors(random):
    found = list(random.complete_each([([999], None), ([998], None)]))
    assert [number for number, _ in found] == [0, 1]
    assert all(isinstance(error, ConfigError) for _, error in found)


def test_no_prompts_give_nothing(random):
    assert list(random.complete_each([])) == []
