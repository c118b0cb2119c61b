"""What is chosen from logits on a device is what is chosen from the whole row, ties and damage included."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.sampling import make_sampler
from llmbuilder.engine.cuda.choice import ChoiceSessions, StepLogits, StepOutput
from llmbuilder.engine.cuda.place import Place
from llmbuilder.errors import LLMBuilderError

VOCAB, ROWS = 80, 3
SESSIONS = ChoiceSessions(Place("cpu"), VOCAB)

LEVELS = np.array([0.0, -0.0, 1.0, 1.0000001, 2.5, -7.0, 30.0, 3e38, -3e38, 1e-40], np.float32)
DAMAGE = np.array([np.nan, np.inf, -np.inf], np.float32)


def logits_of(seed, tied, damaged):
    """Rows [ROWS, VOCAB] of scores, some of which are equal to others, or no scores at all."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 4, (ROWS, VOCAB)).astype(np.float32)
    return np.where(
        random.random(logits.shape) < damaged,
        random.choice(DAMAGE, logits.shape),
        np.where(random.random(logits.shape) < tied, random.choice(LEVELS, logits.shape), logits),
    )


rows = st.builds(
    logits_of,
    seed=st.integers(0, 2**32 - 1),
    tied=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    damaged=st.sampled_from([0.0, 0.0, 0.0, 0.02]),
)
options = st.fixed_dictionaries(
    {
        "do_sample": st.booleans(),
        "top_k": st.sampled_from([0, 1, 3, 20, 63, 64, 65, 80]),
        "seed": st.integers(0, 9),
    },
    optional={
        "temperature": st.sampled_from([0.01, 0.7, 1.0, 5.0, 1e-30]),
        "top_p": st.sampled_from([0.1, 0.9]),
        "min_p": st.sampled_from([0.05, 0.5]),
        "typical_p": st.just(0.6),
    },
)


def on_a_device(logits):
    value = SESSIONS.place.empty([ROWS, 1, VOCAB], np.float32)
    value.update_inplace(np.ascontiguousarray(logits[:, None]))
    return StepLogits(StepOutput(SESSIONS, value, 1), ROWS, threading.Lock())


def chosen(sampler, row, count=3):
    """The next tokens, or the message of what is refused."""
    try:
        return [sampler(row, []) for _ in range(count)]
    except LLMBuilderError as error:
        return str(error)


@settings(max_examples=300, derandomize=True)
@given(rows, options, st.sampled_from([VOCAB, VOCAB - 5]))
def test_every_choice_is_that_of_the_whole_row(logits, options, usable):
    remote = on_a_device(logits)
    config = GenerationConfig(**options)
    for row in range(ROWS):
        ours, theirs = (
            make_sampler(config, prompt_ids=[1, 2], eos_ids=[3], vocab_size=usable) for _ in range(2)
        )
        assert chosen(ours, remote[row]) == chosen(theirs, logits[row])


class TestWhatComesDown:
    LOGITS = np.random.default_rng(0).normal(0, 4, (ROWS, VOCAB)).astype(np.float32)

    @pytest.fixture
    def remote(self, monkeypatch):
        def refuse(_):
            raise AssertionError("the whole vocabulary was fetched")

        monkeypatch.setattr(StepOutput, "whole", refuse)
        return on_a_device(self.LOGITS)

    @pytest.mark.parametrize("options", [{"do_sample": False}, {"top_k": 50}, {"top_k": 64, "top_p": 0.9}])
    def test_is_not_the_vocabulary_for_greedy_and_top_k(self, remote, options):
        sampler = make_sampler(GenerationConfig(**options), prompt_ids=[], eos_ids=[], vocab_size=VOCAB)
        assert all(0 <= sampler(remote[row], []) < VOCAB for row in range(ROWS))

    @pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 65}, {"repetition_penalty": 1.1}])
    def test_is_the_vocabulary_where_a_rule_needs_it(self, remote, options):
        sampler = make_sampler(GenerationConfig(**options), prompt_ids=[1], eos_ids=[], vocab_size=VOCAB)
        with pytest.raises(AssertionError, match="whole vocabulary"):
            sampler(remote[0], [])

    def test_is_fetched_once_for_all_rows(self):
        remote = on_a_device(self.LOGITS)
        np.testing.assert_array_equal(remote, self.LOGITS)
        assert np.shares_memory(remote[0].whole(), remote.whole)
