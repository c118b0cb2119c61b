"""Every logits rule and combination gives exactly the rows that transformers 4.46.3 gives.

Exactly: the same tokens removed and the same float32 values, ties, forbidden tokens and tiny vocabularies included.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracle_logits_cases import EOS, Case, Rows, cases, digest, large_rows, normal, small_rows

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding import drawing, logits, sampling

HERE = Path(__file__).parent
NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": None}
FLOAT32_SUM_ERROR = 2e-5
ORACLE = os.environ.get("LLMBUILDER_ORACLE")
"""A Python with transformers 4.46.3, for the live comparison; `make prove` makes one."""


@pytest.fixture(scope="session")
def oracle(proving: bool) -> Iterator[Callable[[Case], Rows | None]]:
    """transformers itself, in its own process: a case -> processed rows, or None where it fails."""
    if ORACLE is None:
        (pytest.fail if proving else pytest.skip)(
            "LLMBUILDER_ORACLE names no Python with transformers 4.46.3"
        )
    command = [ORACLE, str(HERE / "oracle_logits.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield lambda case: ask(process, case)
        process.stdin.close()


def ask(process: subprocess.Popen[str], case: Case) -> Rows | None:
    prompt, new = case.ids()
    request = {"rows": case.rows.tolist(), "prompt_ids": prompt, "new_ids": new, "eos_ids": case.eos_ids}
    request |= {"options": case.options, "with_beams": case.with_beams}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    return None if isinstance(answer, str) else np.array(answer, dtype=np.float32)


@pytest.fixture(scope="module")
def tally(record_proof) -> Iterator[Counter[str]]:
    """Counts of batches compared live, and of those in which rounding decides."""
    counts: Counter[str] = Counter()
    yield counts
    record_proof("logits rules against transformers", **counts)


@pytest.fixture(scope="module")
def fixtures() -> dict[str, np.ndarray]:
    with np.load(HERE / "oracle_logits.npz") as stored:
        return dict(stored)


def ours(case: Case) -> Rows:
    """The same case through our rules, one row at a time."""
    config = GenerationConfig(**NEUTRAL | case.options)
    prompt, new = case.ids()
    ids = logits.as_ids([*prompt, *new])
    rules = sampling.processors(config, prompt_ids=prompt, eos_ids=case.eos_ids)
    filters = drawing.filters(config, case.min_tokens_to_keep)
    return np.stack(
        [full_row(sampling.process(rules, row, ids), config.temperature, filters) for row in case.rows]
    )


def full_row(row: Rows, temperature: float, filters: tuple[drawing.Filter, ...]) -> Rows:
    if row.max() == -np.inf:
        return row  # the sampler ends here
    ids, scores = drawing.candidates(row, temperature, filters)
    whole = np.full_like(row, -np.inf)
    whole[slice(None) if ids is None else ids] = scores
    return whole


def assert_only_rounding_differs(case: Case, theirs: np.ndarray) -> None:
    """Check masks ``[B, V]`` that differ from ours.

    torch adds 50,000 weights in float32, by which its probabilities may be off by 2e-5 of their value (measured on
    rows of a real model; ours add up to 1 within 1e-7). Its result must lie between ours with limits moved by that,
    but for tokens that are as typical as the last one kept, within the rounding of the entropy: of rows that are nearly
    flat its float32 sum of 50,000 terms is off by as much, 1.0e-5 at most where this was measured.
    """
    stricter, looser = (np.isfinite(ours(moved(case, by))) for by in (-FLOAT32_SUM_ERROR, FLOAT32_SUM_ERROR))
    beyond = (stricter & ~theirs) | (theirs & ~looser)
    if "typical_p" in case.options:
        beyond &= ~at_the_limit_of_typical(case)
    assert not beyond.any(), case.name


def at_the_limit_of_typical(case: Case) -> np.ndarray:
    """Mask ``[B, V]`` of tokens whose distance from the entropy is that of the last kept one, but for rounding."""
    later = {"typical_p", "epsilon_cutoff", "eta_cutoff"}
    before = {name: value for name, value in case.options.items() if name not in later}
    rows = ours(replace(case, options=before)).astype(np.float64)
    logs = rows - rows.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    entropy = -(np.exp(logs) * np.maximum(logs, -1e30)).sum(axis=1, keepdims=True)
    distance = np.abs(-logs - entropy)
    kept = np.isfinite(ours(replace(case, options=before | {"typical_p": case.options["typical_p"]})))
    last = np.where(kept, distance, 0).max(axis=1, keepdims=True)
    return np.abs(distance - last) < FLOAT32_SUM_ERROR


def moved(case: Case, by: float) -> Case:
    """The case with every limit on probabilities relaxed by a share of its value."""
    factors = {"top_p": 1 + by, "typical_p": 1 + by, "epsilon_cutoff": 1 - by, "eta_cutoff": 1 - by}
    options = {name: value * factors.get(name, 1) for name, value in case.options.items() if name in factors}
    masses = {name: min(options[name], 1.0) for name in ("top_p", "typical_p") if name in options}
    return replace(case, options=case.options | options | masses)


FILTER_VALUES = {
    "top_k": st.integers(1, 70),
    "top_p": st.floats(0.01, 0.999),
    "min_p": st.floats(0.001, 1),
    "typical_p": st.floats(0.01, 0.999),
    "epsilon_cutoff": st.floats(1e-5, 0.99),
    "eta_cutoff": st.floats(1e-5, 0.99),
}
OPTION_VALUES = FILTER_VALUES | {
    "encoder_repetition_penalty": st.floats(0.5, 2),
    "repetition_penalty": st.floats(0.5, 2),
    "no_repeat_ngram_size": st.integers(1, 5),
    "min_new_tokens": st.integers(1, 8),
    "exponential_decay_length_penalty": st.tuples(st.integers(0, 8), st.floats(0.5, 2)),
    "temperature": st.floats(0.05, 5),
}
OPTIONS = st.fixed_dictionaries({}, optional=OPTION_VALUES)
SCORES = st.one_of(st.integers(-6, 6).map(float), st.floats(-50, 50, width=32), st.just(-np.inf))
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 60))
SMALL = SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=SCORES))


@pytest.mark.prove
@settings(max_examples=3_000, suppress_health_check=list(HealthCheck))
@given(rows=SMALL, options=OPTIONS, eos_ids=st.sampled_from(EOS), with_beams=st.booleans())
def test_any_small_rows_and_options_equal_those_of_transformers(
    oracle, tally, rows, options, eos_ids, with_beams
):
    assume(rows.shape[1] > max(eos_ids) and (rows.max(axis=1) > -np.inf).all())
    compare(oracle, tally, Case("any small", rows, options, eos_ids, with_beams))


@pytest.mark.prove
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.floats(0.5, 6), st.sampled_from(sorted(FILTER_VALUES)), st.data())
def test_each_filter_on_any_large_row_equals_that_of_transformers(oracle, tally, seed, spread, name, data):
    rows = normal(seed, 1, 50_000) * np.float32(spread)
    options = {name: data.draw(FILTER_VALUES[name])}
    compare(oracle, tally, Case("any large", rows, options, EOS[0], with_beams=False))


def compare(oracle: Callable[[Case], Rows | None], tally: Counter[str], case: Case) -> None:
    expected = oracle(case)
    assume(expected is not None and not np.isnan(expected).any())
    result = ours(case)
    tally[case.rows_name] += 1
    if np.array_equal(np.isfinite(result), np.isfinite(expected)):
        np.testing.assert_array_equal(result, expected)
    else:
        tally[f"{case.rows_name}, limit met by rounding"] += 1
        assert_only_rounding_differs(case, np.isfinite(expected))


@pytest.mark.parametrize("name", small_rows())
def test_small_rows_equal_those_of_transformers(name, fixtures):
    rows = small_rows()[name]
    assert digest(rows) == fixtures[f"input {name}"], (
        "the inputs are not those of the fixtures; make them again"
    )
    for case, expected in zip(cases(name, rows), fixtures[f"output {name}"], strict=True):
        if not np.isnan(expected).any():  # transformers failed
            np.testing.assert_array_equal(ours(case), expected, err_msg=case.name)


@pytest.mark.parametrize("name", large_rows())
def test_rows_of_a_real_vocabulary_equal_those_of_transformers(name, fixtures):
    rows = large_rows()[name]
    assert digest(rows) == fixtures[f"input {name}"], (
        "the inputs are not those of the fixtures; make them again"
    )
    kept = np.unpackbits(fixtures[f"kept {name}"], axis=1).astype(np.bool_)
    for case, theirs, fingerprint in zip(cases(name, rows), kept, fixtures[f"output {name}"], strict=True):
        result = ours(case)
        if np.array_equal(np.isfinite(result[0]), theirs):
            assert digest(result) == fingerprint, case.name
        else:
            assert_only_rounding_differs(case, theirs[None])


def test_the_fixtures_are_of_the_version_in_the_contract(fixtures):
    assert str(fixtures["versions"]).startswith("transformers 4.46.3, ")
