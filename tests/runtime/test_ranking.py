"""Which tokens may extend which beams, and in what order they are taken."""

from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import logits as rules
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.ranking import Candidate, Scored, best, diversity, drawn, make_scorer
from llmbuilder.errors import LLMBuilderError

EOS = 4
LOGITS = np.array([1.0, 3.0, -2.0, 0.5, 2.0, 0.0], np.float32)
LOGS = rules.log_softmax(LOGITS)


def scored(*scores, ids=None):
    return Scored(np.array(scores, np.float32), None if ids is None else np.array(ids))


def scorer(*, prompt_ids=(0,), eos_ids=(EOS,), vocab_size=6, **options):
    config = GenerationConfig(**{"do_sample": False, "num_beams": 2, **options})
    return make_scorer(Prompt(prompt_ids, "", config, eos_ids, 64, config.max_new_tokens), vocab_size)


class TestBest:
    def test_takes_the_largest_of_all_beams_in_order(self):
        found = best([scored(-1, -4, -2), scored(-3, -5, -1.5)], 4)
        assert list(islice(found, 4)) == [
            Candidate(-1, 0, 0),
            Candidate(-1.5, 1, 2),
            Candidate(-2, 0, 2),
            Candidate(-3, 1, 0),
        ]

    def test_takes_the_first_beams_lowest_id_among_equals(self):
        found = best([scored(-2, -1, -1), scored(-1, -1, -1)], 3)
        assert [(c.beam, c.token) for c in islice(found, 3)] == [(0, 1), (0, 2), (1, 0)]

    @pytest.mark.parametrize("count", [1, 2, 3, 50])
    def test_goes_on_to_the_last_for_who_asks(self, count):
        scores = np.random.default_rng(0).integers(0, 9, (2, 20)).astype(np.float32)  # many ties
        found = [(c.score, c.beam, c.token) for c in best([Scored(row, None) for row in scores], count)]
        everything = [(float(s), b, t) for b, row in enumerate(scores) for t, s in enumerate(row)]
        assert found == sorted(everything, key=lambda c: (-c[0], c[1], c[2]))

    def test_never_takes_what_is_forbidden(self):
        assert list(best([scored(-np.inf, -1), scored(-np.inf, -np.inf)], 4)) == [Candidate(-1, 0, 1)]

    def test_names_tokens_by_their_ids_where_only_some_are_left(self):
        found = best([scored(-2, -1, ids=[7, 9]), scored(-3, ids=[5])], 3)
        assert [(c.beam, c.token) for c in found] == [(0, 9), (0, 7), (1, 5)]


class TestDrawn:
    def test_is_a_draw_without_replacement_from_all_beams_together(self):
        """Chi-square of the ordered pairs against successive draws, each from what the ones before have left."""
        beams = [scored(-1.0, -2.5, ids=[3, 8]), scored(-0.5, -1.2)]
        flat = np.concatenate([beam.scores for beam in beams])
        likely = np.exp(flat) / np.exp(flat).sum()
        expected = {
            frozenset((a, b)): likely[a] * likely[b] / (1 - likely[a])
            + likely[b] * likely[a] / (1 - likely[b])
            for a, b in permutations(range(4), 2)
        }
        place = {(0, 3): 0, (0, 8): 1, (1, 0): 2, (1, 1): 3}
        random = np.random.default_rng(1)
        draws = 20_000
        counts = Counter(
            frozenset(place[c.beam, c.token] for c in islice(drawn(beams, 2, random), 2))
            for _ in range(draws)
        )
        assert set(counts) == set(expected)
        statistic = sum(
            (counts[pair] - draws * share) ** 2 / (draws * share) for pair, share in expected.items()
        )
        assert statistic < 20.5  # p = 0.001 with 5 degrees of freedom

    def test_is_in_order_of_score(self):
        draw = drawn([scored(*range(-9, 0))] * 2, 12, np.random.default_rng(0))
        scores = [c.score for c in islice(draw, 12)]
        assert scores == sorted(scores, reverse=True)

    def test_more_of_a_draw_are_those_that_a_larger_draw_adds(self):
        beams = [scored(*range(-9, 0))] * 2
        small, large = (list(drawn(beams, count, np.random.default_rng(3))) for count in (5, 9))
        assert set(small[:9]) == set(large[:9])
        assert set(small[:5]) < set(large[:9])

    def test_never_holds_what_is_forbidden_or_anything_twice(self):
        found = drawn([scored(-1, -np.inf, -2), scored(-np.inf, -1)], 6, np.random.default_rng(0))
        assert sorted((c.beam, c.token) for c in found) == [(0, 0), (0, 2), (1, 1)]


class TestScorer:
    def test_adds_log_probabilities_to_the_score_so_far(self):
        scores, ids = scorer()(LOGITS, (), -2.0, None)
        assert ids is None
        np.testing.assert_allclose(scores, LOGS - 2, rtol=1e-6)

    def test_sees_no_ids_beyond_the_vocabulary(self):
        scores, _ = scorer(vocab_size=5)(LOGITS, (), 0.0, None)
        np.testing.assert_allclose(scores, rules.log_softmax(LOGITS[:5]), rtol=1e-6)

    def test_runs_the_rules_on_log_probabilities(self):
        scores, _ = scorer(repetition_penalty=2.0)(LOGITS, (1,), 0.0, None)
        changed = LOGS.copy()
        changed[[0, 1]] *= 2  # never divided: logarithms of probabilities are negative
        np.testing.assert_allclose(scores, changed, rtol=1e-6)

    def test_subtracts_the_diversity_penalty_before_the_rules(self):
        cost = diversity([1, 1, 3], 0.5, 6)
        scores, _ = scorer(repetition_penalty=2.0)(LOGITS, (1,), 0.0, cost)
        assert scores[1] == pytest.approx((LOGS[1] - 1.0) * 2)
        assert scores[3] == pytest.approx(LOGS[3] - 0.5)

    def test_lets_a_beam_only_end_for_which_every_token_is_forbidden(self):
        all_banned = scorer(no_repeat_ngram_size=1, prompt_ids=(0, 1, 2, 3, 4, 5))
        assert list(best([all_banned(LOGITS, (), -3.0, None)], 4)) == [Candidate(-3.0, 0, EOS)]

    def test_cannot_end_a_beam_without_eos(self):
        all_banned = scorer(no_repeat_ngram_size=1, prompt_ids=(0, 1, 2, 3, 4, 5), eos_ids=())
        with pytest.raises(LLMBuilderError, match="forbid every token"):
            all_banned(LOGITS, (), 0.0, None)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.filterwarnings("ignore:invalid value")
    def test_refuses_damaged_logits(self, value):
        damaged = LOGITS.copy()
        damaged[2] = value
        with pytest.raises(LLMBuilderError, match="llmb verify"):
            scorer()(damaged, (), 0.0, None)

    def test_refuses_logits_of_which_none_is_possible(self):
        with pytest.raises(LLMBuilderError, match="damaged"):
            scorer()(np.full(6, -np.inf, np.float32), (), 0.0, None)

    @pytest.mark.parametrize(("eos_ids", "kept"), [((), 2), ((4,), 2), ((3, 4), 3)])
    def test_samples_from_enough_tokens_to_go_on_whichever_end(self, eos_ids, kept):
        sampling = scorer(do_sample=True, top_k=1, top_p=0.01, eos_ids=eos_ids)
        scores, ids = sampling(LOGITS, (), 0.0, None)
        assert ids.size == scores.size == kept
        assert set(ids) == set(np.argsort(-LOGITS)[:kept])

    def test_divides_by_the_temperature_only_when_sampling(self):
        cold, _ = scorer(temperature=0.5)(LOGITS, (), 0.0, None)
        np.testing.assert_allclose(cold, LOGS, rtol=1e-6)
        sampling = scorer(do_sample=True, temperature=0.5, top_k=0, top_p=1.0)
        np.testing.assert_allclose(sampling(LOGITS, (), -1.0, None).scores, 2 * LOGS - 1, rtol=1e-6)


class TestDiversity:
    def test_costs_the_penalty_for_each_earlier_choice(self):
        assert diversity([2, 0, 2], 0.5, 4).tolist() == [0.5, 0, 1, 0]

    def test_costs_the_first_group_nothing(self):
        assert diversity([], 0.5, 4) is None
