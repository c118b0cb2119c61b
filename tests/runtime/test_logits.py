"""Each rule on rows small enough to check by hand, and the fast filters against plain full computations."""

import numpy as np
import pytest

from llmbuilder.decoding import logits

INF = float("inf")
SPREADS = (0.01, 1.0, 4.0)


def row(*scores: float) -> logits.Scores:
    """A row that refuses to be written to."""
    values = np.array(scores, dtype=np.float32)
    values.flags.writeable = False
    return values


def of(*probabilities: float) -> logits.Scores:
    """A row whose softmax is these probabilities."""
    with np.errstate(divide="ignore"):
        return row(*np.log(probabilities))


def ids(*values: int) -> logits.Ids:
    return logits.as_ids(values)


def vocabulary(seed: int, spread: float, *, ties: bool = False) -> logits.Scores:
    values = np.random.default_rng(seed).normal(0, spread, 49_152)
    return (np.round(values * 4) / 4 if ties else values).astype(np.float32)


def test_repetition_penalty_divides_positive_and_multiplies_negative_scores():
    assert logits.repetition_penalty(row(4, -4, 4, 0), ids(0, 1, 3), 2.0).tolist() == [2, -8, 4, 0]


def test_repetition_penalty_counts_a_repeated_token_once():
    assert logits.repetition_penalty(row(4, 1), ids(0, 0, 0), 2.0).tolist() == [2, 1]


def test_repetition_penalty_leaves_forbidden_tokens_forbidden():
    assert logits.repetition_penalty(row(-INF, 1), ids(0), 2.0).tolist() == [-INF, 1]


def test_encoder_repetition_penalty_makes_prompt_tokens_likelier():
    assert logits.encoder_repetition_penalty(row(4, -4, 4), ids(0, 1), 2.0).tolist() == [8, -2, 4]


def test_no_repeat_ngram_forbids_what_followed_the_last_tokens_before():
    result = logits.no_repeat_ngram(row(1, 1, 1, 1, 1), ids(1, 2, 3, 1, 2, 4, 1, 2), 3)
    assert result.tolist() == [1, 1, 1, -INF, -INF]


def test_no_repeat_ngram_of_one_forbids_every_token_seen():
    assert logits.no_repeat_ngram(row(1, 1, 1), ids(0, 2), 1).tolist() == [-INF, 1, -INF]


def test_no_repeat_ngram_counts_ngrams_that_overlap_the_end():
    assert logits.no_repeat_ngram(row(1, 1), ids(0, 0), 2).tolist() == [-INF, 1]


@pytest.mark.parametrize("history", [(), (0,), (0, 1)])
def test_no_repeat_ngram_forbids_nothing_in_a_short_history(history):
    assert logits.no_repeat_ngram(row(1, 1), ids(*history), 3).tolist() == [1, 1]


def test_min_new_tokens_forbids_every_eos_until_there_are_enough():
    assert logits.min_new_tokens(row(1, 2, 3), ids(0, 2), 4, 5).tolist() == [-INF, 2, -INF]
    assert logits.min_new_tokens(row(1, 2, 3), ids(0, 2), 5, 5).tolist() == [1, 2, 3]


def test_decay_raises_eos_exponentially_after_its_start():
    def decayed(new_tokens: int) -> list[float]:
        return logits.exponential_decay_length_penalty(row(2, -2, 5), ids(0, 1), new_tokens, 3, 2.0).tolist()

    assert decayed(3) == [2, -2, 5]
    assert decayed(4) == [4, 0, 5]
    assert decayed(5) == [8, 4, 5]


def test_decay_leaves_a_forbidden_eos_forbidden():
    assert logits.exponential_decay_length_penalty(row(-INF, 1), ids(0), 9, 0, 2.0).tolist() == [-INF, 1]


def test_decay_never_overflows():
    result = logits.exponential_decay_length_penalty(row(-3, 1), ids(0), 100_000, 0, 9.0)
    assert np.isfinite(logits.temperature(result, 0.01)).all()
    assert result.argmax() == 0


def test_ids_outside_the_row_are_ignored():
    assert logits.repetition_penalty(row(4, 1), ids(7, 0), 2.0).tolist() == [2, 1]
    assert logits.no_repeat_ngram(row(1, 1), ids(9, 1), 1).tolist() == [1, -INF]
    assert logits.min_new_tokens(row(1, 1), ids(2, 0), 0, 1).tolist() == [-INF, 1]
    assert logits.exponential_decay_length_penalty(row(1, 1), ids(2, 0), 1, 0, 2.0).tolist() == [2, 1]


def test_temperature_divides():
    assert logits.temperature(row(1, -2, -INF), 0.5).tolist() == [2, -4, -INF]


@pytest.mark.parametrize("value", [1e-38, 1e-300])
def test_a_temperature_near_zero_leaves_the_largest_scores(value):
    assert logits.softmax(logits.temperature(row(7, 9, 9, -INF), value)).tolist() == [0, 0.5, 0.5, 0]


def test_top_k_keeps_all_that_tie_with_the_last():
    assert logits.top_k(row(1, 3, 2, 2, 0), 2).tolist() == [1, 2, 3]


def test_top_k_larger_than_the_row_keeps_everything():
    assert logits.top_k(row(1, -INF, 2), 5).tolist() == [0, 1, 2]


def test_top_k_keeps_at_least_as_many_as_asked():
    assert logits.top_k(row(1, 3, 2, 0), 1, min_tokens_to_keep=3).tolist() == [0, 1, 2]


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    assert logits.top_p(of(0.1, 0.5, 0.15, 0.25), 0.7).tolist() == [1, 3]
    assert logits.top_p(of(0.1, 0.5, 0.15, 0.25), 0.8).tolist() == [1, 2, 3]


def test_top_p_removes_the_lower_ids_among_equal_scores():
    assert logits.top_p(row(2, 2, 2, 2), 0.5).tolist() == [2, 3]


def test_top_p_always_keeps_the_likeliest():
    assert logits.top_p(of(0.2, 0.5, 0.3), 1e-6).tolist() == [1]
    assert logits.top_p(of(0.2, 0.5, 0.3), 1e-6, min_tokens_to_keep=2).tolist() == [1, 2]


def test_min_p_scales_with_the_likeliest():
    assert logits.min_p(of(0.5, 0.26, 0.24), 0.5).tolist() == [0, 1]
    assert logits.min_p(of(0.5, 0.26, 0.24), 1.0).tolist() == [0]
    assert logits.min_p(of(0.5, 0.26, 0.24), 1.0, min_tokens_to_keep=2).tolist() == [0, 1]


def test_typical_p_may_remove_the_likeliest():
    # Entropy 1.49 nats: a token of probability 0.15 carries 1.90, the one of 0.55 only 0.60.
    assert logits.typical_p(of(0.55, 0.15, 0.1, 0.1, 0.1), 0.1).tolist() == [1]


def test_typical_p_keeps_all_that_tie_with_the_last():
    assert logits.typical_p(of(0.25, 0.25, 0.25, 0.25), 0.1).tolist() == [0, 1, 2, 3]


def test_typical_p_keeps_at_least_as_many_as_asked():
    assert logits.typical_p(of(0.55, 0.15, 0.1, 0.1, 0.1), 0.1, min_tokens_to_keep=2).size == 2


def test_epsilon_cutoff_keeps_probable_tokens_and_the_likeliest():
    assert logits.epsilon_cutoff(of(0.6, 0.1, 0.3), 0.2).tolist() == [0, 2]
    assert logits.epsilon_cutoff(of(0.6, 0.1, 0.3), 0.9).tolist() == [0]
    assert logits.epsilon_cutoff(of(0.6, 0.1, 0.3), 0.9, min_tokens_to_keep=2).tolist() == [0, 2]


def test_eta_cutoff_is_looser_where_the_entropy_is_high():
    even, sharp = of(*[0.05] * 19, 0.04, 0.01), of(0.95, 0.04, 0.01)
    # Limits min(0.03, sqrt(0.03) / e^entropy): 0.0087 and 0.03.
    assert 20 in logits.eta_cutoff(even, 0.03)
    assert logits.eta_cutoff(sharp, 0.03).tolist() == [0, 1]


def test_largest_come_in_order_with_the_lowest_position_first_among_equals():
    assert logits.largest(row(1, 5, 3, 5, 3), 3).tolist() == [1, 3, 2]
    assert logits.largest(row(1, 5), 0).tolist() == []
    assert logits.largest(row(1, 5), 9).tolist() == [1, 0]


def test_log_softmax_is_the_logarithm_of_softmax():
    scores = row(1000, 999, -INF, 990)
    np.testing.assert_allclose(np.exp(logits.log_softmax(scores)), logits.softmax(scores), rtol=1e-6)
    assert logits.softmax(scores).sum() == pytest.approx(1)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 50, 3_000, 20_000, 49_151])
def test_top_k_of_a_large_row_is_that_of_a_full_sort(spread, ties, k):
    scores = vocabulary(1, spread, ties=ties)
    expected = np.flatnonzero(scores >= np.sort(scores)[-k])
    np.testing.assert_array_equal(logits.top_k(scores, k), expected)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("p", [0.001, 0.5, 0.9, 0.999, 0.9999999])
def test_top_p_of_a_large_row_is_that_of_a_full_sort(spread, ties, p):
    scores = vocabulary(2, spread, ties=ties)
    order = np.argsort(scores, kind="stable")
    mass = logits.softmax(scores)[order].cumsum(dtype=np.float64).astype(np.float32)
    expected = np.sort(order[mass > np.float32(1 - p)])
    np.testing.assert_array_equal(logits.top_p(scores, p), expected)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("p", [0.001, 0.5, 0.9, 0.999])
def test_typical_p_of_a_large_row_is_that_of_a_full_sort(spread, ties, p):
    scores = vocabulary(3, spread, ties=ties)
    logs, likely = logits.log_softmax(scores), logits.softmax(scores)
    entropy = np.float32(-(np.exp(logs) * logs).sum(dtype=np.float64))
    distance = np.abs(-logs - entropy)
    order = np.argsort(distance, kind="stable")
    mass = likely[order].cumsum(dtype=np.float64).astype(np.float32)
    last = order[np.count_nonzero(mass < np.float32(p))]
    np.testing.assert_array_equal(logits.typical_p(scores, p), np.flatnonzero(distance <= distance[last]))


@pytest.mark.parametrize("n", [1, 5, 300])
def test_largest_of_a_large_row_are_those_of_a_full_sort(n):
    scores = vocabulary(4, 1.0, ties=True)
    np.testing.assert_array_equal(logits.largest(scores, n), np.argsort(-scores, kind="stable")[:n])
