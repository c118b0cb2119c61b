"""`compare_generations`: samples, means, intervals and verdicts."""

import numpy as np
import pytest
from tiny_language import lowercase

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder.quality.compare import compare, distances
from llmbuilder.quality.significance import bootstrap_interval, difference_of_means, difference_within, holm
from llmbuilder.testing import fake_engine

SETTINGS = {"max_new_tokens": 24, "top_k": 0, "top_p": None}


@pytest.fixture
def engine():
    return fake_engine(lowercase, context_length=256)


@pytest.fixture
def generator(engine):
    return TextGenerator.from_engine(engine)


def texts(found):
    return [[sample.text for sample in result.samples] for result in found]


def test_each_configuration_gives_its_samples_and_their_means(generator):
    found = compare(generator, "a b", [{"temperature": 0.5}, {"temperature": 2.0}], num_samples=5, **SETTINGS)
    assert [len(result.samples) for result in found] == [5, 5]
    for result in found:
        low, high = result.quality_interval
        assert low <= result.avg_quality <= high
        assert result.avg_quality == pytest.approx(np.mean([s.quality for s in result.samples]))
        assert result.avg_tokens == 24
        assert 0 <= result.avg_diversity <= 1


def test_equal_seeds_give_equal_comparisons_and_configurations_draw_for_themselves(generator):
    configs = [{"temperature": 1.0}] * 2
    first, again, other = (
        compare(generator, "a b", configs, num_samples=4, seed=seed, **SETTINGS) for seed in (1, 1, 2)
    )
    assert texts(first) == texts(again)
    assert first.verdicts == again.verdicts
    assert texts(first) != texts(other)
    assert len({text for config in texts(first) for text in config}) == 8


def test_the_prompt_is_computed_once_and_all_samples_are_decoded_together(engine, generator):
    prompt = "ab " * 20
    found = compare(
        generator, prompt, [{"temperature": 1.0}, {"temperature": 2.0}], num_samples=8, **SETTINGS
    )
    assert engine.model.prefilled == len(prompt)
    assert engine.model.most_rows == 16
    assert engine.model.steps < 2 * 24
    assert len(found) == 2


def test_samples_are_those_of_the_seed_alone(generator):
    found = compare(generator, "a b", [{"temperature": 1.0}], num_samples=3, seed=5, **SETTINGS)
    seeds = np.random.SeedSequence(5).generate_state(3).tolist()
    alone = [generator.generate("a b", seed=seed, temperature=1.0, **SETTINGS) for seed in seeds]
    assert texts(found) == [alone]


def test_greedy_decoding_is_computed_once_and_repeated(engine, generator):
    (result,) = compare(generator, "a b", [{"do_sample": False}], num_samples=4, **SETTINGS)
    assert len({sample.text for sample in result.samples}) == 1
    assert len(result.samples) == 4
    assert engine.model.most_rows == 1
    assert (result.avg_diversity, result.quality_spread) == (0, 0)


def test_different_temperatures_are_told_apart_and_equal_ones_are_not(generator):
    configs = [{"temperature": 0.3}, {"temperature": 3.0}, {"temperature": 3.0}]
    near, far, equal = compare(generator, "a b", configs, num_samples=10, seed=3, **SETTINGS).verdicts
    assert near.differs
    assert far.differs
    assert not equal.differs
    assert str(equal) == "3 against 2: not told apart"
    assert "more diverse" in str(near)


def test_the_size_of_a_batch_changes_no_sample(generator):
    def texts(**options):
        found = compare(generator, "a", [{"max_new_tokens": 4, **options}], num_samples=3, seed=1)
        return [sample.text for sample in found[0].samples]

    assert texts(batch_size=2) == texts()


@pytest.mark.parametrize(
    ("configs", "samples", "message"),
    [
        ([], 10, "at least one configuration"),
        (GenerationConfig(), 10, "configs must be a list"),
        ({"top_k": 3}, 10, "configs must be a list"),
        ([3], 10, "config must be a GenerationConfig"),
        ([{}], 0, "num_samples must be a whole number from 1"),
        ([{}], "3", "num_samples must be a whole number"),
        ([{}], 2.5, "num_samples must be a whole number"),
    ],
)
def test_nothing_to_compare_is_an_error(generator, configs, samples, message):
    with pytest.raises(ConfigError, match=message):
        compare(generator, "a", configs, num_samples=samples)


def test_a_seed_below_zero_and_a_prompt_that_is_no_text_are_errors(generator):
    with pytest.raises(ConfigError, match="seed must be a whole number of at least 0, got -1"):
        compare(generator, "a", [{}], seed=-1)
    with pytest.raises(ConfigError, match="prompt must be a text, got None"):
        compare(generator, None, [{}])


def test_samples_are_judged_without_the_prompt(generator):
    plain, full = (
        compare(generator, "a b", [{"return_full_text": whole}], num_samples=3, **SETTINGS)
        for whole in (False, True)
    )
    assert texts(full) == texts(plain)
    assert full[0].avg_quality == plain[0].avg_quality


def test_distance_is_one_minus_the_share_of_common_bigrams():
    found = distances(["a b c", "a b d", "x y", ""])
    assert found[0, 1] == pytest.approx(1 - 1 / 3)
    assert found[0, 2] == 1
    assert np.diag(found).tolist() == [0, 0, 0, 0]


def test_the_interval_holds_the_mean_of_its_source_as_often_as_it_says():
    random = np.random.default_rng(0)
    intervals = [bootstrap_interval(random.normal(5, 1, 30).tolist(), random) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 5 <= high for low, high in intervals]) <= 0.99
    assert np.isnan(bootstrap_interval([], random)).all()


def test_permutation_tests_flag_equal_sources_in_one_of_twenty():
    random = np.random.default_rng(1)
    p_values = [
        difference_of_means(random.random(10).tolist(), random.random(10).tolist(), random)
        for _ in range(200)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.1
    assert difference_of_means([0.0] * 6, [1.0] * 6, random) < 0.01
    assert difference_of_means([0.5] * 6, [0.5] * 6, random) == 1
    assert difference_of_means([], [1.0], random) == 1


def test_groups_of_different_spread_are_found():
    random = np.random.default_rng(2)
    narrow, wide = random.normal(0, 0.1, 8), random.normal(0, 5, 8)
    values = np.concatenate([narrow, wide])
    between = np.abs(values[:, None] - values[None])
    assert difference_within(between, 8, random) < 0.01
    assert difference_within(between[:8, :8], 4, random) > 0.05
    assert difference_within(between, 1, random) == 1


def test_holm_multiplies_by_the_tests_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
