"""Bundles of checkpoints that real LLMBuilder releases wrote compute what upstream's own model computes."""

import numpy as np
import pytest
from upstream_cases import SAMPLE, WHOLE

from llmbuilder import TextGenerator

EXACT = 1e-3
"""Largest difference of logits between two float32 implementations that order their sums differently."""

GREEDY = {"do_sample": False, "early_stopping": False, "max_new_tokens": 64}

every_case = pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c in SAMPLE else pytest.mark.prove) for c in WHOLE], ids=str
)


@pytest.fixture
def generator(case, exported):
    with TextGenerator(exported(case)) as generator:
        yield generator


@every_case
def test_logits_are_those_of_upstreams_torch_model(case, upstream, exported, engine_of, record_proof):
    model = engine_of(exported(case)).model
    largest = 0.0
    for prompt, theirs, _ in upstream(case).prompts():
        ours = model.decoder(capacity=len(prompt)).prefill(0, prompt, keep=len(prompt))
        largest = max(largest, float(np.abs(ours - theirs).max()))
    record_proof(f"logits of {case}", largest_difference=largest)
    assert largest < EXACT


@every_case
def test_without_cache_greedy_text_goes_on_past_the_window_as_upstreams(case, upstream, generator):
    for prompt, _, greedy in upstream(case).prompts():
        (completion,) = generator.complete(prompt, **GREEDY, use_cache=False)
        assert list(completion.token_ids) == greedy


@every_case
def test_with_cache_greedy_text_is_upstreams_up_to_the_end_of_the_window(case, upstream, generator):
    for prompt, _, greedy in upstream(case).prompts():
        inside = min(len(greedy), case.window - len(prompt) + 1)
        (completion,) = generator.complete(prompt, **GREEDY)
        assert list(completion.token_ids[:inside]) == greedy[:inside]


@pytest.mark.parametrize(
    "case", [case for case in SAMPLE if case.writer in ("save_model", "trainer")], ids=str
)
def test_text_is_what_upstreams_generator_says(case, upstream, generator):
    for prompt, text in upstream(case).texts().items():
        assert (
            generator.generate(
                prompt, do_sample=False, max_new_tokens=64, use_cache=False, return_full_text=True
            )
            == text
        )
