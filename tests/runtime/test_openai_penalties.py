"""``logit_bias``, ``presence_penalty`` and ``frequency_penalty``: formula, place in the order, and what they count."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import logits as rules
from llmbuilder.decoding.sampling import make_sampler, process, processors
from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule

V = 12
ROWS = st.lists(st.floats(-50, 50, width=32), min_size=V, max_size=V)
IDS = st.lists(st.integers(0, V + 3), max_size=30)
TWO = st.floats(-2, 2)


def generator():
    return TextGenerator.from_engine(fake_engine(random_rule()))


def processed(row, prompt, new, **options):
    steps = processors(GenerationConfig(**options), prompt_ids=prompt, eos_ids=(1,))
    return process(steps, np.array(row, np.float32), np.array([*prompt, *new], np.int64))


@given(ROWS, IDS, IDS, TWO, TWO)
def test_penalties_follow_openais_formula_and_count_new_tokens_alone(row, prompt, new, presence, frequency):
    found = processed(row, prompt, new, presence_penalty=presence, frequency_penalty=frequency)
    counts = Counter(new)
    expected = [
        score - presence * (counts[token] > 0) - frequency * counts[token] for token, score in enumerate(row)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@given(ROWS, st.dictionaries(st.integers(0, V - 1), st.floats(-100, 100)))
def test_biases_are_added(row, biases):
    found = processed(row, (), (), logit_bias=biases)
    np.testing.assert_allclose(
        found, [score + biases.get(token, 0) for token, score in enumerate(row)], rtol=1e-5, atol=1e-4
    )


def test_no_rule_writes_into_its_row():
    row = np.zeros(V, np.float32)
    rules.logit_bias(row, {1: 5.0})
    rules.count_penalties(row, np.array([1, 1]), 1.0, 1.0)
    assert not row.any()


def test_biases_come_before_the_repetition_penalty_and_counts_after_it():
    found = processed([1.0] * V, [3], [3], logit_bias={3: 1}, repetition_penalty=2.0, presence_penalty=0.5)
    assert found[3] == (1 + 1) / 2 - 0.5
    assert found[2] == 1


def test_what_the_rules_forbid_stays_forbidden():
    row = [-np.inf, *[0.0] * (V - 1)]
    assert processed(row, (), (0,), logit_bias={0: 100}, presence_penalty=-2)[0] == -np.inf
    assert processed([0.0] * V, (5,), (), logit_bias={5: 100}, no_repeat_ngram_size=1)[5] == -np.inf


@pytest.mark.parametrize(
    "strategy", [{"do_sample": False}, {"seed": 1}, {"do_sample": False, "num_beams": 3}], ids=str
)
def test_a_bias_forces_or_forbids_a_token_in_every_strategy(strategy):
    forced = generator().complete("x", max_new_tokens=6, logit_bias={65: 100}, **strategy)[0]
    assert forced.text == "AAAAAA"
    text = generator().complete("x", max_new_tokens=20, **strategy)[0].token_ids
    without = generator().complete("x", max_new_tokens=20, logit_bias={text[0]: -100}, **strategy)[0]
    assert text[0] not in without.token_ids


@pytest.mark.parametrize("strategy", [{"do_sample": False}, {"do_sample": False, "num_beams": 2}], ids=str)
def test_penalties_keep_a_text_from_repeating_itself(strategy):
    engine = fake_engine(
        lambda ids: np.where(np.arange(258) < 70, np.arange(258) * 0.01, -50).astype(np.float32)
    )
    plain = TextGenerator.from_engine(engine)
    options = {"max_new_tokens": 10, "early_stopping": True} | strategy
    assert len(set(plain.complete("x", **options)[0].token_ids)) == 1
    assert len(set(plain.complete("x", presence_penalty=2, **options)[0].token_ids)) == 10


def test_off_they_change_nothing():
    rows = np.random.default_rng(1).standard_normal((20, V)).astype(np.float32)
    plain, off = (
        make_sampler(config, prompt_ids=(1,), eos_ids=(), vocab_size=V)
        for config in (GenerationConfig(seed=1), GenerationConfig(seed=1, logit_bias={}, presence_penalty=0))
    )
    assert [plain(row, (2,)) for row in rows] == [off(row, (2,)) for row in rows]


def test_ids_may_be_texts_as_in_json_and_must_exist():
    config = GenerationConfig(logit_bias=json.loads('{"65": 3}'))
    assert config.logit_bias == {65: 3}
    with pytest.raises(ConfigError, match="logit_bias: id 300 "):
        generator().generate("x", logit_bias={300: 1})
