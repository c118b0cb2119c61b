from dataclasses import dataclass

import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.prompt import prepare
from llmbuilder.errors import ConfigError, ContextOverflowError


@dataclass
class Limits:
    context_length: int = 8
    usable_vocab: int = 100
    bos_token_id: int | None = 1
    eos_token_ids: tuple[int, ...] = (2,)
    pad_token_id: int | None = None


def prepared(ids, limits=None, **options):
    return prepare(limits or Limits(), ids, "text", GenerationConfig(**options))


def test_ids_and_limits_are_taken_as_they_are():
    prompt = prepared([5, 6, 7], max_new_tokens=20)
    assert prompt.ids == (5, 6, 7)
    assert (prompt.text, prompt.eos_ids, prompt.context_length) == ("text", (2,), 8)
    assert (prompt.max_new_tokens, prompt.truncated_tokens) == (20, 0)


def test_an_empty_prompt_begins_with_bos():
    assert prepared([]).ids == (1,)


def test_the_configs_bos_goes_before_the_models():
    assert prepared([], bos_token_id=0).ids == (0,)


def test_bos_is_not_put_before_a_prompt():
    assert prepared([5], bos_token_id=9).ids == (5,)


def test_an_empty_prompt_without_bos_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"empty.*Give a prompt, or bos_token_id"):
        prepared([], Limits(bos_token_id=None))


def test_the_configs_eos_goes_before_the_models():
    assert prepared([5], eos_token_id=[7, 8]).eos_ids == (7, 8)
    assert prepared([5], eos_token_id=0).eos_ids == (0,)


@pytest.mark.parametrize(
    ("limits", "options", "pad"),
    [
        (Limits(pad_token_id=0), {"pad_token_id": 7}, 7),
        (Limits(pad_token_id=0), {}, 0),
        (Limits(), {}, 2),
        (Limits(), {"eos_token_id": [5, 6]}, 5),
        (Limits(eos_token_ids=()), {}, 0),
    ],
)
def test_padding_is_the_configs_or_the_models_or_the_first_eos(limits, options, pad):
    assert prepared([5], limits, **options).pad_id == pad


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([5, 100], {}, "prompt: id 100 at position 1 is outside the vocabulary of 100"),
        ([-1], {}, "prompt: id -1 at position 0"),
        ([], {"bos_token_id": 100}, "bos_token_id: id 100"),
        ([5], {"pad_token_id": 10**20}, "pad_token_id: id 100000000000000000000"),
        ([5], {"eos_token_id": [3, 100]}, "eos_token_id: id 100 at position 1"),
    ],
)
def test_ids_outside_the_vocabulary_are_refused_by_place(ids, options, message):
    with pytest.raises(ConfigError, match=message):
        prepared(ids, **options)


def test_a_prompt_may_fill_the_window():
    assert len(prepared(range(8)).ids) == 8


def test_a_prompt_longer_than_the_window_is_refused_with_both_counts():
    with pytest.raises(ContextOverflowError, match=r"9 tokens.*window holds 8.*truncate_prompt=True"):
        prepared(range(9))


def test_truncation_keeps_the_end_and_says_how_much_is_gone():
    prompt = prepared(range(20), truncate_prompt=True)
    assert prompt.ids == tuple(range(12, 20))
    assert prompt.truncated_tokens == 12


@pytest.mark.parametrize(
    ("max_new_tokens", "max_length", "room"), [(10, None, 10), (10, 5, 2), (1, 5, 1), (10, 100, 10)]
)
def test_the_first_reached_of_both_limits_counts(max_new_tokens, max_length, room):
    assert prepared([5, 6, 7], max_new_tokens=max_new_tokens, max_length=max_length).max_new_tokens == room


@pytest.mark.parametrize("max_length", [1, 3])
def test_a_prompt_as_long_as_max_length_is_refused(max_length):
    with pytest.raises(ConfigError, match=rf"3 tokens.*max_length={max_length}.*max_new_tokens"):
        prepared([5, 6, 7], max_length=max_length)


def test_max_length_counts_the_prompt_after_truncation():
    assert prepared(range(20), truncate_prompt=True, max_length=10).max_new_tokens == 2
