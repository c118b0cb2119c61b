"""What the sampler draws has the distribution that transformers 4.46.3 computes."""

import math
from pathlib import Path

import numpy as np
import pytest
from oracle_logits_cases import Case, digest, distribution_cases

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import drawing, sampling
from llmbuilder.decoding.logits import as_ids

CASES = distribution_cases()
OFF = {"temperature": 1.0, "top_k": 0, "top_p": None}


@pytest.fixture(scope="module")
def distributions() -> np.ndarray:
    with np.load(Path(__file__).with_name("oracle_logits.npz")) as stored:
        assert digest(CASES[0].rows) == stored["input distribution"], (
            "the inputs are not those of the fixtures"
        )
        return stored["distribution"].astype(np.float64)


@pytest.fixture
def draws(proving) -> int:
    return 20_000 if proving else 2_000


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].name)
def test_draws_follow_the_distribution_of_transformers(number, distributions, draws, record_proof):
    expected = distributions[number] / distributions[number].sum()
    counts = np.bincount(drawn_tokens(CASES[number], draws), minlength=expected.size)
    probability = chi_square_test(counts, expected * draws)
    record_proof(f"draws: {CASES[number].name}", draws=draws, chi_square_p=probability)
    assert support(CASES[number]) == np.flatnonzero(expected).tolist()
    assert not counts[expected == 0].any()
    assert probability > 0.001


def support(case: Case) -> list[int]:
    prompt, new = case.ids()
    config = GenerationConfig(**OFF | case.options)
    rules = sampling.processors(config, prompt_ids=prompt, eos_ids=case.eos_ids)
    row = sampling.process(rules, case.rows[0], as_ids([*prompt, *new]))
    ids, scores = drawing.candidates(row, config.temperature, drawing.filters(config))
    possible = np.flatnonzero(scores > -np.inf)
    return (possible if ids is None else ids[possible]).tolist()


def drawn_tokens(case: Case, draws: int) -> list[int]:
    prompt, new = case.ids()
    config = GenerationConfig(**OFF | case.options, seed=2024)
    sampler = sampling.make_sampler(
        config, prompt_ids=prompt, eos_ids=case.eos_ids, vocab_size=case.rows.shape[1]
    )
    return [sampler(case.rows[0], new) for _ in range(draws)]


def chi_square_test(counts: np.ndarray, expected: np.ndarray) -> float:
    """Pearson's test; tokens expected fewer than 5 times are counted together."""
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    return chi_square_tail(float(((observed - wanted) ** 2 / wanted).sum()), observed.size - 1)


def chi_square_tail(value: float, freedom: int) -> float:
    """P(X >= value) of the chi-square distribution, by the finite series for whole degrees of freedom."""
    half, odd = value / 2, freedom % 2
    tail = math.erfc(math.sqrt(half)) if odd else 0.0
    steps = [step + odd / 2 for step in range((freedom - odd) // 2)]
    return tail + sum(math.exp(step * math.log(half) - half - math.lgamma(step + 1)) for step in steps)


def test_the_tail_of_the_chi_square_distribution_agrees_with_tables():
    for value, freedom, tail in [(3.841, 1, 0.05), (5.991, 2, 0.05), (7.815, 3, 0.05), (29.588, 10, 0.001)]:
        assert math.isclose(chi_square_tail(value, freedom), tail, rel_tol=2e-3)


def test_chi_square_notices_a_wrong_distribution(distributions):
    expected = distributions[0] / distributions[0].sum()
    flatter = expected**0.9 / (expected**0.9).sum()
    counts = np.bincount(drawn_tokens(CASES[0], 5_000), minlength=expected.size)
    assert chi_square_test(counts, flatter * 5_000) < 0.001
