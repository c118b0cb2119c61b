"""Beginnings of prompts that are kept over all requests: nothing is computed twice, and no bit changes."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.generator import TextGenerator
from llmbuilder.scheduling.asynchronous import ScheduledGenerator
from llmbuilder.scheduling.prefixes import KeptIds, Prefixes
from llmbuilder.scheduling.request import Limits
from llmbuilder.scheduling.thread import DecodingThread
from llmbuilder.testing import FakeModel, fake_engine, random_rule

STORYTELLER = Path(__file__).parent.parent.parent / "artifacts" / "storyteller" / "bundle"
LONG = list(range(40))


def salted(ids, salt=""):
    kept = KeptIds(ids)
    kept.salt = salt
    return kept


def compute(decoder, ids, most=512):
    filling = decoder.begin(0, ids)
    while not filling.finished:
        filling.advance(most)
    return filling.logits


def make(most=1 << 20):
    model = FakeModel(random_rule(), context_length=200)
    prefixes = Prefixes(most)
    return prefixes.keeping(model.decoder)(rows=1, capacity=1), prefixes, model


@given(
    st.lists(st.lists(st.integers(0, 1), min_size=14, max_size=40), min_size=1, max_size=6), st.integers(2, 5)
)
def test_logits_and_rows_are_those_of_computing_every_prompt_afresh(prompts, most):
    decoder, _, _ = make()
    for prompt in prompts:
        fresh = FakeModel(random_rule(), context_length=200).decoder()
        assert np.array_equal(compute(decoder, salted(prompt), most), fresh.prefill(0, prompt)[-1])
        assert np.array_equal(decoder.step([1]), fresh.step([1]))


@pytest.mark.parametrize(
    ("second", "salt", "computed"),
    [
        ([*LONG, 7, 8, 9], "", 3),
        ([*LONG, 7], "", 2),  # never a token alone
        (LONG, "", 0),
        ([*LONG[:20], 99, 98, 97], "", 3),
        ([*LONG[:5], 99, 98, 97], "", 8),  # too few to be worth it
        (LONG, "of somebody else", 40),
    ],
)
def test_only_what_is_new_is_computed(second, salt, computed):
    decoder, _, model = make()
    compute(decoder, salted(LONG))
    before, ids = model.prefilled, salted(second, salt)
    compute(decoder, ids)
    assert model.prefilled - before == computed
    assert ids.reused == len(second) - computed


def test_prompts_that_others_began_with_are_found_among_many():
    decoder, _, model = make()
    for first in range(5):
        compute(decoder, salted([first, *LONG]))
    before = model.prefilled
    compute(decoder, salted([2, *LONG, 1, 2]))
    assert model.prefilled - before == 2


def test_what_was_not_used_for_longest_goes_first_and_the_bound_holds():
    decoder, prefixes, model = make(most=5000)
    for first in range(20):
        compute(decoder, salted([first, *LONG]))
        compute(decoder, salted([0, *LONG]))  # used again and again
        assert prefixes.size <= 5000
    before = model.prefilled
    compute(decoder, salted([0, *LONG]))
    assert model.prefilled == before
    compute(decoder, salted([5, *LONG]))
    assert model.prefilled == before + 41


def test_what_a_longer_prompt_begins_with_is_not_kept_twice():
    decoder, prefixes, _ = make()
    for length in (20, 25, 30, 40):
        compute(decoder, salted(LONG[:length]))
    assert len(prefixes._kept) == 1


def test_a_row_on_a_device_counts_with_the_bytes_that_it_says():
    prefixes = Prefixes(1000)
    prefixes.add(salted(range(4)), SimpleNamespace(nbytes=500), np.zeros(2, np.float32))
    assert 500 < prefixes.size < 600
    prefixes.add(salted(range(9, 15)), SimpleNamespace(nbytes=2000), np.zeros(2, np.float32))
    assert prefixes.size < 600


def test_what_alone_exceeds_the_bound_is_not_kept():
    decoder, prefixes, _ = make(most=100)
    compute(decoder, salted(LONG))
    assert prefixes.size == 0


@pytest.mark.parametrize("model", ["fake", "real"])
def test_texts_are_those_of_each_prompt_alone_and_little_is_computed_twice(model):
    engine = fake_engine(random_rule(), context_length=256)
    alone = TextGenerator.from_engine(engine) if model == "fake" else TextGenerator(STORYTELLER, threads=1)
    start = "Once upon a time there was a little fox who lived in a forest. " * 2
    prompts = [
        start + end for end in ("One day", "The fox", "One day", "His friend, the bird,", "One day he")
    ]
    expected = [alone.complete(p, seed=n, max_new_tokens=12, logprobs=1) for n, p in enumerate(prompts)]

    async def main():
        thread = DecodingThread()
        limits = Limits(max_rows=2, prefix_bytes=1 << 24)
        generator = ScheduledGenerator(alone, limits, thread)
        found, reused = [], []
        for number, prompt in enumerate(prompts):
            async with await generator.start(prompt, seed=number, max_new_tokens=12, logprobs=1) as answering:
                found.append(await answering.completions())
                reused.append(answering.cached_tokens)
        again = await asyncio.gather(
            *(generator.complete(p, seed=n, max_new_tokens=12, logprobs=1) for n, p in enumerate(prompts))
        )
        await generator.aclose()
        thread.close()
        return found, again, reused

    found, again, reused = asyncio.run(main())
    for completions in (found, again):
        assert [(c[0].token_ids, c[0].logprobs) for c in completions] == [
            (c[0].token_ids, c[0].logprobs) for c in expected
        ]
    assert reused[0] == 0
    assert min(reused[1:]) >= 16
    assert reused[2] == expected[2][0].prompt_tokens
