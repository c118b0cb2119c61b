"""A decoder that remembers its last prompt computes only what is new, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.engine.prefix import Memory, PrefixDecoder, RememberingModel
from llmbuilder.testing import FakeModel, random_rule

PROMPTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=6)


def remembering(memory: Memory | None = None) -> PrefixDecoder:
    return PrefixDecoder(FakeModel(random_rule(), context_length=64).decoder(), memory or Memory())


def compute(decoder, row, ids, most=512):
    """Compute a prompt in a row, about ``most`` tokens at a time; logits [V] of what follows."""
    filling = decoder.begin(row, ids)
    while not filling.finished:
        filling.advance(most)
    return filling.logits


@given(PROMPTS, st.integers(2, 5))
def test_logits_and_rows_are_those_of_computing_every_prompt_afresh(prompts, most):
    decoder = remembering()
    for prompt in prompts:
        fresh = FakeModel(random_rule(), context_length=64).decoder()
        assert np.array_equal(compute(decoder, 0, prompt, most), fresh.prefill(0, prompt)[-1])
        assert np.array_equal(decoder.step([1]), fresh.step([1]))


@pytest.mark.parametrize(
    ("first", "second", "computed"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], 2),  # what is new
        ([1, 2, 3, 4], [1, 2, 3, 4, 5], 2),  # never a token alone
        ([1, 2, 3, 4], [1, 2, 9, 4], 2),  # from the first difference
        ([1, 2, 3, 4], [1, 2, 3, 4], 0),  # the same again
        ([1, 2, 3, 4], [9, 2, 3, 4], 4),  # nothing shared
        ([1], [1, 2, 3], 3),  # a single token was computed by other kernels
    ],
)
def test_only_tokens_after_the_shared_beginning_are_computed(first, second, computed):
    memory = Memory()
    decoder = remembering(memory)
    compute(decoder, 0, first)
    before = memory.prefilled
    compute(decoder, 0, second)
    assert memory.prefilled - before == computed


@pytest.mark.parametrize(
    ("first", "second", "computed"),
    [
        (range(10), range(12), 4),  # up to the last border
        (range(8), range(9), 1),  # a single token, if the whole has that part, too
        (range(8), range(8), 0),
        (range(9), range(8), 4),  # what follows the last token is not known
        (range(7), [0, 1, 2, 9, 9, 9], 6),
    ],
)
def test_where_prompts_are_cut_at_borders_they_are_used_again_up_to_one(first, second, computed):
    memory, model = Memory(), FakeModel(random_rule(), context_length=64)
    model.border = 4
    decoder = PrefixDecoder(model.decoder(), memory)
    compute(decoder, 0, list(first))
    before = memory.prefilled
    logits = compute(decoder, 0, list(second), most=2)
    assert memory.prefilled - before == computed
    assert np.array_equal(logits, model.decoder().prefill(0, list(second))[-1])


def test_generated_tokens_are_not_reused():
    memory = Memory()
    decoder = remembering(memory)
    compute(decoder, 0, [1, 2, 3])
    decoder.step([7])
    before = memory.prefilled
    compute(decoder, 0, [1, 2, 3, 7, 8])
    assert memory.prefilled - before == 2  # [7, 8]: 7 was a step


def test_other_rows_may_begin_with_the_same_prompt():
    memory = Memory()
    decoder = remembering(memory)
    first = compute(decoder, 0, [1, 2, 3])
    second = compute(decoder, 1, [1, 2, 3])
    assert memory.prefilled == 3
    assert np.array_equal(first, second)
    assert decoder.lengths == [3, 3]


def test_a_model_remembers_from_one_computation_to_the_next():
    model = RememberingModel(FakeModel(random_rule(), context_length=64))
    compute(model.decoder(), 0, [1, 2, 3, 4])
    compute(model.decoder(), 0, [1, 2, 3, 4, 5, 6])
    assert model.memory.prefilled == 6
