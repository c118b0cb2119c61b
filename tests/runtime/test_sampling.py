"""The sampler: the order of the rules, the choice, the draw, and what it does when nothing is left."""

import re

import numpy as np
import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import drawing, sampling
from llmbuilder.decoding import logits as rules
from llmbuilder.errors import LLMBuilderError

VOCABULARY = 1_000
EVERYTHING = {
    "logit_bias": {1: 0.5},
    "presence_penalty": 0.5,
    "encoder_repetition_penalty": 1.1,
    "repetition_penalty": 1.2,
    "no_repeat_ngram_size": 3,
    "min_new_tokens": 2,
    "exponential_decay_length_penalty": (1, 1.1),
    "temperature": 0.9,
    "top_k": 60,
    "top_p": 0.95,
    "min_p": 0.01,
    "typical_p": 0.95,
    "epsilon_cutoff": 0.001,
    "eta_cutoff": 0.001,
}


def row(seed: int = 0, size: int = VOCABULARY) -> rules.Scores:
    """A row that refuses to be written to."""
    scores = np.random.default_rng(seed).normal(0, 2, size).astype(np.float32)
    scores.flags.writeable = False
    return scores


def make(
    prompt=(1, 2, 3), eos=(0,), vocab_size=VOCABULARY, sequence_index=0, **options: object
) -> sampling.Sampler:
    return sampling.make_sampler(
        GenerationConfig(**options),
        prompt_ids=prompt,
        eos_ids=eos,
        vocab_size=vocab_size,
        sequence_index=sequence_index,
    )


def draws(sampler: sampling.Sampler, count: int = 20) -> list[int]:
    return [sampler(row(step), []) for step in range(count)]


def test_rules_run_in_the_order_that_the_docstring_states(monkeypatch):
    stated = re.findall(r"^ ?\d+\. (\w+)$", sampling.__doc__, flags=re.MULTILINE)
    names = [name.removesuffix("_size") for name in stated]
    called = []
    for name in names[:8]:
        monkeypatch.setattr(rules, name, lambda scores, *_, name=name: called.append(name) or scores)
    for name in names[8:]:
        keep_all = lambda scores, *_, name=name: called.append(name) or np.arange(scores.size)  # noqa: E731
        monkeypatch.setattr(rules, name, keep_all)
    make(**EVERYTHING)(row(), [4])
    assert len(stated) == len(EVERYTHING)
    assert called == names


def test_greedy_takes_the_likeliest_and_the_lowest_id_among_equals():
    assert make(do_sample=False)(np.array([1, 3, 2, 3], dtype=np.float32), []) == 1


def test_greedy_runs_the_penalties_but_no_temperature_or_filter():
    scores = np.array([1, 5, 4, 4], dtype=np.float32)
    options = {
        "do_sample": False,
        "repetition_penalty": 2.0,
        "typical_p": 0.01,
        "temperature": 9.0,
        "eta_cutoff": 0.9,
    }
    assert make(prompt=(1,), **options)(scores, [2]) == 3


def test_greedy_does_not_depend_on_the_seed():
    assert draws(make(do_sample=False, seed=1)) == draws(make(do_sample=False, seed=2))


def test_the_same_seed_draws_the_same_tokens():
    assert draws(make(seed=7)) == draws(make(seed=7))


def test_seeds_and_sequences_draw_differently():
    drawn = {tuple(draws(make(seed=seed, sequence_index=k))) for seed in (0, 1) for k in (0, 1)}
    assert len(drawn) == 4


def test_without_a_seed_every_sampler_draws_differently():
    assert draws(make(temperature=2.0)) != draws(make(temperature=2.0))


def test_a_sequence_does_not_notice_those_beside_it():
    alone = draws(make(seed=7))
    one, other = make(seed=7), make(seed=8)
    beside = []
    for step in range(20):
        other(row(step + 100), [])
        beside.append(one(row(step), []))
    assert beside == alone


def test_each_draw_uses_one_uniform_number():
    sampler = make(seed=3, temperature=1.0, top_k=0, top_p=None)
    random = drawing.random_numbers(3, 0)
    expected = [drawing.inverse_cdf(row(step), random.random()) for step in range(20)]
    assert draws(sampler) == expected


def test_a_seed_draws_the_same_tokens_for_ever():
    scores = (np.arange(VOCABULARY) * 7919 % VOCABULARY / 250).astype(np.float32)
    sampler = make(seed=42)
    assert [sampler(scores, []) for _ in range(8)] == [926, 926, 889, 309, 963, 210, 988, 778]


def test_the_new_ids_need_not_grow_one_by_one():
    options = {"do_sample": False, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2}
    histories = [[5, 6, 5], [], [9, 1, 2], [5, 6]]
    sampler = make(**options)
    assert [sampler(row(), new) for new in histories] == [make(**options)(row(), new) for new in histories]


def test_the_rules_see_prompt_and_new_tokens_alike():
    scores = np.array([0, 9, 8, 7, 6], dtype=np.float32)
    assert make(prompt=(1, 2), do_sample=False, no_repeat_ngram_size=1)(scores, [3]) == 4


def test_ids_beyond_the_vocabulary_are_never_chosen():
    scores = np.array([1, 2, 3, 99], dtype=np.float32)
    assert make(vocab_size=3, do_sample=False)(scores, []) == 2
    assert {make(vocab_size=3, seed=seed)(scores, []) for seed in range(30)} <= {0, 1, 2}


def test_prompt_ids_beyond_the_vocabulary_are_no_trouble():
    options = {"repetition_penalty": 1.1, "no_repeat_ngram_size": 1, "encoder_repetition_penalty": 1.1}
    assert make(prompt=(3, 1), eos=(3,), vocab_size=3, min_new_tokens=1, **options)(row(0, 4), []) in {0, 2}


def test_a_row_without_any_possible_token_is_refused_even_where_a_text_could_end():
    with pytest.raises(LLMBuilderError, match=r"score of token 0 is -inf.*llmb verify"):
        make(prompt=(1,), eos=(2,))(np.full(4, -np.inf, np.float32), [])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("do_sample", [False, True])
def test_scores_that_are_no_numbers_are_an_error(bad, do_sample):
    scores = row().copy()
    scores[17] = bad
    with pytest.raises(LLMBuilderError, match=r"score of token 17 is (nan|inf).*llmb verify"):
        make(do_sample=do_sample)(scores, [])


@pytest.mark.parametrize("do_sample", [False, True])
def test_when_the_rules_forbid_every_token_the_sequence_ends(do_sample):
    sampler = make(prompt=(0, 1, 2), eos=(2,), vocab_size=3, no_repeat_ngram_size=1, do_sample=do_sample)
    assert sampler(row(0, 3), []) == 2


def test_when_every_token_is_forbidden_and_there_is_no_eos_that_is_an_error():
    with pytest.raises(LLMBuilderError, match="no_repeat_ngram_size"):
        make(prompt=(0, 1, 2), eos=(), vocab_size=3, no_repeat_ngram_size=1)(row(0, 3), [])


def test_filters_that_are_off_are_not_run():
    off = GenerationConfig(top_k=None, top_p=1.0, typical_p=1.0)
    assert drawing.filters(off) == ()
    assert drawing.filters(GenerationConfig(top_k=0, top_p=None)) == ()


def test_beams_ask_filters_to_keep_more():
    filters = drawing.filters(GenerationConfig(top_k=1, top_p=0.01), min_tokens_to_keep=3)
    ids, scores = drawing.candidates(row(), 0.5, filters)
    assert ids.tolist() == sorted(rules.largest(row(), 3))
    assert scores.tolist() == (row()[ids] / np.float32(0.5)).tolist()


def test_processors_run_on_log_probabilities_too():
    steps = sampling.processors(GenerationConfig(repetition_penalty=2.0), prompt_ids=[1], eos_ids=[0])
    logs = rules.log_softmax(row())
    assert sampling.process(steps, logs, rules.as_ids([1, 5]))[5] == logs[5] * 2


@pytest.mark.parametrize(("uniform", "position"), [(0.0, 1), (0.49, 1), (0.51, 3), (1 - 2**-53, 3)])
def test_the_draw_inverts_the_distribution_and_skips_impossible_tokens(uniform, position):
    scores = np.array([-np.inf, 0, -np.inf, 0, -np.inf], dtype=np.float32)
    assert drawing.inverse_cdf(scores, uniform) == position


def test_the_draw_from_a_large_vocabulary_inverts_the_cumulative_sum():
    scores = row(3, 49_152).copy()
    scores[1_000:2_000] = -np.inf
    cumulative = np.exp(scores.astype(np.float64)).cumsum()
    for uniform in np.linspace(0, 1, 500, endpoint=False):
        position = drawing.inverse_cdf(scores, uniform)
        above, below = (
            cumulative[position] / cumulative[-1],
            (cumulative[position - 1] if position else 0) / cumulative[-1],
        )
        assert below - 1e-6 <= uniform <= above + 1e-6
        assert scores[position] > -np.inf


def test_logprobs_are_of_the_raw_distribution_with_the_lowest_id_first_among_equals():
    scores = np.log(np.array([0.2, 0.4, 0.2, 0.15, 0.05], dtype=np.float32)) + 3
    logprob, top = sampling.token_logprobs(scores, 4, 3)
    assert logprob == pytest.approx(np.log(0.05), rel=1e-6)
    assert [token for token, _ in top] == [1, 0, 2]
    assert [value for _, value in top] == pytest.approx(np.log([0.4, 0.2, 0.2]), rel=1e-6)


def test_logprobs_can_be_of_the_token_alone():
    assert sampling.token_logprobs(row(), 5, 0).top == ()
