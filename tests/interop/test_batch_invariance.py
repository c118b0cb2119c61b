"""A row of a batch says what its prompt says alone: same ids and log-probabilities, bit for bit.

Rows differ in prompt, length, seed and number of tokens, and rows end and are moved while others go on. In turns they
are greedy, sampled, sampled with every rule active, and beams.
"""

from functools import cache

import numpy as np
import pytest
from upstream_cases import SAMPLE as UPSTREAM

from llmbuilder import TextGenerator

LARGEST = 64
SAMPLE_SIZES = (2, 3, 8)
WIDEST = UPSTREAM[-1]
EVERY_RULE = {
    "encoder_repetition_penalty": 1.1,
    "repetition_penalty": 1.2,
    "no_repeat_ngram_size": 2,
    "min_new_tokens": 1,
    "exponential_decay_length_penalty": (2, 1.1),
    "temperature": 1.3,
    "top_k": 80,
    "top_p": 0.95,
    "min_p": 0.001,
    "typical_p": 0.98,
    "epsilon_cutoff": 1e-5,
    "eta_cutoff": 1e-5,
}
WAYS = (
    {"do_sample": False},
    {"do_sample": True},
    {"do_sample": True, **EVERY_RULE},
    {"do_sample": False, "num_beams": 3, "repetition_penalty": 1.2},
)
QUANTIZATIONS = ["none", "int8", "int4", pytest.param("w8a8", marks=pytest.mark.prove)]
LARGE_QUANTIZATIONS = [
    "int8",
    *(pytest.param(mode, marks=pytest.mark.prove) for mode in ("none", "int4", "w8a8", "int8-kv8")),
]


@pytest.fixture(scope="module", params=QUANTIZATIONS)
def small(request, exported):
    with TextGenerator(exported(WIDEST, request.param)) as generator:
        yield Rows(f"LLMBuilder {request.param}", generator, longest_prompt=60)


@pytest.fixture(scope="module", params=LARGE_QUANTIZATIONS)
def large(request, smollm2):
    with TextGenerator(smollm2(request.param).bundle) as generator:
        yield Rows(f"SmolLM2 {request.param}", generator, longest_prompt=24)


class Rows:
    """64 prompts with their options, and what each says alone."""

    def __init__(self, name, generator, longest_prompt):
        random = np.random.default_rng(0)
        vocab = generator.tokenizer.vocab_size
        lengths = random.integers(1, longest_prompt, LARGEST, endpoint=True)
        self.name = name
        self.generator = generator
        self.prompts = [random.integers(vocab, size=length).tolist() for length in lengths]
        self.configs = [
            {**WAYS[row % len(WAYS)], "seed": row, "max_new_tokens": int(random.integers(1, 12))}
            for row in range(LARGEST)
        ]
        self.alone = cache(self._alone)

    def _alone(self, row):
        (completion,) = self.generator.complete(self.prompts[row], self._config(row))
        return said(completion)

    def together(self, rows):
        configs = [self._config(row) for row in rows]
        room = sum(config.get("num_beams", 1) for config in configs)
        completions = self.generator.complete_batch(
            [self.prompts[row] for row in rows], configs, batch_size=room
        )
        return [said(completion) for (completion,) in completions]

    def _config(self, row):
        return self.configs[row] | {"logprobs": 2, "early_stopping": False}


def said(completion):
    return completion.token_ids, completion.logprobs


def prove_batches_of(sizes, rows):
    for size in sizes:
        start = size % 7  # so that a prompt stands at different places
        chosen = [(start + step) % LARGEST for step in range(size)]
        assert rows.together(chosen) == [rows.alone(row) for row in chosen], f"in a batch of {size}"
    return {"batches": len(sizes), "prompts": sum(sizes), "different": 0}


def test_llmbuilder_model(small):
    prove_batches_of((*SAMPLE_SIZES, 33), small)


def test_smollm2(large):
    prove_batches_of(SAMPLE_SIZES, large)


def prove_chunks_of(sizes, generator, tokens, monkeypatch):
    """A prompt's logits and keys and values, computed in chunks of each of the sizes."""
    facts = generator.engine.model.facts
    length = min(tokens, facts.context_length)
    ids = np.random.default_rng(3).integers(facts.vocab_size, size=length).tolist()
    found = []
    for size in sizes:
        monkeypatch.setattr("llmbuilder.engine.decoder.PREFILL_CHUNK", size)
        computation = generator.engine.model.decoder(capacity=length)
        logits = np.array(computation.prefill(0, ids, keep=min(length, 40)))
        found.append([logits, *computation.save(0)])
    for other in found[1:]:
        assert all(np.array_equal(*pair) for pair in zip(found[0], other, strict=True))


def test_a_prompt_of_an_llmbuilder_model_may_be_cut_anywhere(small, monkeypatch):
    prove_chunks_of((512, 256, 100, 16, 7, 2), small.generator, 600, monkeypatch)


def test_a_prompt_of_smollm2_may_be_cut_anywhere(large, monkeypatch):
    prove_chunks_of((512, 256, 100), large.generator, 600, monkeypatch)


def prove_short_rows_beside_long_ones(generator, rows, long):
    """Prompts of 20 tokens beside others of thousands, all greedy or drawn, some as beams; some end early."""
    random = np.random.default_rng(2)
    lengths = [20] * (rows - len(long)) + long
    prompts = [random.integers(generator.tokenizer.vocab_size, size=length).tolist() for length in lengths]
    options = [
        {
            "seed": row,
            "max_new_tokens": 3 + row % 5,
            "early_stopping": False,
            "logprobs": 2,
            **WAYS[row % len(WAYS)],
        }
        for row in range(rows)
    ]
    order = random.permutation(rows)
    together = generator.complete_batch(
        [prompts[row] for row in order], [options[row] for row in order], batch_size=rows
    )
    alone = [generator.complete(prompts[row], options[row]) for row in order]
    different = sum(said(a) != said(b) for (a,), (b,) in zip(together, alone, strict=True))
    assert different == 0
    return {"prompts": rows, "tokens": sorted(set(lengths)), "different": different}


def test_short_rows_beside_a_long_one(large):
    prove_short_rows_beside_long_ones(large.generator, 5, [600])


@pytest.mark.prove
def test_63_short_rows_beside_rows_of_thousands(large, record_proof):
    record_proof(
        f"rows of 20 tokens beside rows of thousands, {large.name}",
        **prove_short_rows_beside_long_ones(large.generator, 64, [1000, 3000, 6000]),
    )


@pytest.mark.prove
def test_llmbuilder_model_in_batches_of_1_to_64(small, record_proof):
    record_proof(f"batch invariance, {small.name}", **prove_batches_of(range(1, LARGEST + 1), small))


@pytest.mark.prove
def test_smollm2_in_batches_of_1_to_64(large, record_proof):
    record_proof(f"batch invariance, {large.name}", **prove_batches_of(range(1, LARGEST + 1), large))


def test_log_probabilities_depend_on_the_prompt(small):
    """Equality above would be worth nothing if every prompt were answered alike."""
    assert len({small.alone(row) for row in range(8)}) == 8
