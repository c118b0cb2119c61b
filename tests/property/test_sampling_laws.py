"""Laws of the logits rules and the sampler, on any scores."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import drawing, sampling
from llmbuilder.decoding import logits as rules

SIZE = 24
SCORES = st.one_of(st.integers(-5, 5).map(float), st.floats(-80, 80, width=32), st.just(-np.inf))
ROWS = arrays(np.float32, st.integers(1, SIZE), elements=SCORES).filter(lambda row: row.max() > -np.inf)
WIDE_ROWS = arrays(np.float32, SIZE, elements=st.floats(-20, 20, width=32))
TOKENS = st.lists(st.integers(0, SIZE - 1), max_size=30)
SHARES = st.floats(1e-6, 1)
FILTERS = {
    "top_k": st.integers(1, 2 * SIZE),
    "top_p": SHARES,
    "min_p": SHARES,
    "typical_p": SHARES,
    "epsilon_cutoff": st.floats(1e-6, 0.999),
    "eta_cutoff": st.floats(1e-6, 0.999),
}
OFF = {"top_k": None, "top_p": None}
SEEDS = st.integers(0, 2**64)


def make(prompt=(), eos=(), size=SIZE, sequence_index=0, **options: object) -> sampling.Sampler:
    config = GenerationConfig(**options)
    return sampling.make_sampler(
        config, prompt_ids=prompt, eos_ids=eos, vocab_size=size, sequence_index=sequence_index
    )


def generate(sampler: sampling.Sampler, rows: list[rules.Scores]) -> list[int]:
    new: list[int] = []
    for row in rows:
        new.append(sampler(row, new))
    return new


@given(ROWS, st.fixed_dictionaries({}, optional=FILTERS), st.floats(0.05, 20))
def test_filters_leave_a_distribution_over_possible_tokens(row, options, temperature):
    steps = drawing.filters(GenerationConfig(**OFF | options))
    ids, scores = drawing.candidates(row, temperature, steps)
    possible = row if ids is None else row[ids]
    likely = rules.softmax(scores)
    assert abs(likely.sum() - 1) < 1e-5
    assert not likely[possible == -np.inf].any()


@given(ROWS, st.integers(1, SIZE), st.floats(1e-9, 1, exclude_max=True), st.integers(1, 3))
def test_top_k_then_top_p_keeps_the_likeliest_and_what_beams_need(row, k, p, min_tokens_to_keep):
    steps = drawing.filters(GenerationConfig(top_k=k, top_p=p), min_tokens_to_keep)
    ids, scores = drawing.candidates(row, 1.0, steps)
    assert scores.max() == row.max()
    assert ids.size >= min(min_tokens_to_keep, row.size)


@given(ROWS, st.fixed_dictionaries({}, optional=FILTERS), st.integers(1, 3))
def test_filters_keep_ascending_positions_and_only_forget(row, options, min_tokens_to_keep):
    for step in drawing.filters(GenerationConfig(**OFF | options), min_tokens_to_keep):
        kept = step(row)
        assert kept.size >= 1
        assert (np.diff(kept) > 0).all()
        assert 0 <= kept[0] <= kept[-1] < row.size


def possible(row, positions):
    return [position for position in positions.tolist() if row[position] > -np.inf]


NEAR_TIES = st.integers(0, 40).map(lambda ulps: np.float32(3 + ulps * 2.0**-22))
HUGE = st.floats(-(2.0**127), 2.0**127, width=32)
ANY_ROWS = arrays(np.float32, st.integers(1, SIZE), elements=st.one_of(SCORES, NEAR_TIES, HUGE)).filter(
    lambda row: row.max() > -np.inf
)


@given(ANY_ROWS, st.integers(1, SIZE), st.floats(1e-30, 1e3))
def test_top_k_before_the_temperature_spares_it_work_and_changes_nothing(row, k, temperature):
    ids, scores = drawing.candidates(
        row, temperature, drawing.filters(GenerationConfig(**OFF | {"top_k": k}))
    )
    scaled = row if temperature == 1.0 else rules.temperature(row, temperature)
    kept = rules.top_k(scaled, k)
    found = np.arange(row.size) if ids is None else ids
    assert possible(scaled, kept) == possible(scaled, found)
    assert scores.tolist() == scaled[found].tolist()


@given(ROWS, SHARES, SHARES)
def test_a_larger_top_p_keeps_more(row, p, q):
    low, high = sorted((p, q))
    assert set(rules.top_p(row, low)) <= set(rules.top_p(row, high))


@given(st.lists(WIDE_ROWS, min_size=1, max_size=12), TOKENS, st.integers(1, 4), st.booleans(), SEEDS)
def test_no_ngram_occurs_twice(rows, prompt, size, do_sample, seed):
    assume(len(set(prompt)) + len(rows) <= SIZE)  # some token is always left
    sampler = make(prompt=prompt, no_repeat_ngram_size=size, do_sample=do_sample, seed=seed)
    text = [*prompt, *generate(sampler, rows)]
    ngrams = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
    fresh = ngrams[max(len(prompt) - size + 1, 0) :]
    assert all(ngrams.count(ngram) == 1 for ngram in fresh)


@given(st.lists(WIDE_ROWS, min_size=1, max_size=8), st.integers(0, 8), st.booleans(), SEEDS)
def test_no_eos_comes_before_min_new_tokens(rows, minimum, do_sample, seed):
    tempting = [row + np.float32(99) * np.isin(np.arange(SIZE), (2, 5)) for row in rows]
    tokens = generate(make(eos=(2, 5), min_new_tokens=minimum, do_sample=do_sample, seed=seed), tempting)
    assert not {2, 5} & set(tokens[:minimum])
    assert set(tokens[minimum:]) <= {2, 5}


@given(st.lists(WIDE_ROWS, min_size=1, max_size=6), SEEDS, st.integers(0, 9), st.integers(0, 9))
def test_rows_are_reproducible_and_independent(rows, seed, one, other):
    assume(one != other)
    alone = generate(make(seed=seed, sequence_index=one, temperature=5.0), rows)
    first = make(seed=seed, sequence_index=one, temperature=5.0)
    second = make(seed=seed, sequence_index=other, temperature=5.0)
    together: list[int] = []
    for row in rows:
        second(row[::-1].copy(), together)
        together.append(first(row, together))
    assert together == alone


@given(ROWS, st.floats(0, 1, exclude_max=True))
def test_the_draw_is_always_a_possible_token(row, uniform):
    assert row[drawing.inverse_cdf(row, uniform)] > -np.inf


@given(ROWS, TOKENS, st.floats(0.2, 5))
def test_penalties_keep_the_order_of_tokens_they_do_not_touch(row, tokens, penalty):
    result = rules.repetition_penalty(row, rules.as_ids(tokens), penalty)
    untouched = [i for i in range(row.size) if i not in tokens]
    assert result[untouched].tolist() == row[untouched].tolist()
