"""Prompt-lookup speculation: what is guessed, and that guesses change nothing but the number of runs."""

from typing import Any

import numpy as np
import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.lookup import find_draft
from llmbuilder.engine.loading import Engine
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import EOS, ByteTokenizer, FakeDecoder, FakeModel, NextLogits, random_rule, scripted

PROMPT = "the cat and the dog and the cat"


class TestTheGuess:
    def test_is_what_followed_the_last_words_before(self):
        assert find_draft([1, 2, 3, 4, 5, 9, 1, 2, 3], 2) == [4, 5]

    def test_comes_from_the_longest_ending_that_occurred(self):
        assert find_draft([1, 2, 3, 7, 9, 3, 8, 1, 2, 3], 1) == [7]
        assert find_draft([1, 2, 3, 7, 9, 3, 8, 0, 2, 3], 1) == [7]

    def test_comes_from_its_last_occurrence(self):
        assert find_draft([1, 2, 5, 1, 2, 6, 1, 2], 1) == [6]

    def test_may_reach_into_the_ending_itself(self):
        assert find_draft([4, 4, 4, 4], 3) == [4]
        assert find_draft([0, 1, 2, 1, 2], 5) == [1, 2]

    def test_is_no_longer_than_asked_for(self):
        assert find_draft([1, 2, 3, 4, 1, 2], 2) == [3, 4]

    @pytest.mark.parametrize("ids", [[], [1], [1, 2, 3]])
    def test_is_nothing_where_the_last_token_is_new(self, ids):
        assert find_draft(ids, 5) == []

    def test_needs_two_tokens_that_stood_together_before(self):
        assert find_draft([1, 2, 3, 7, 9, 3], 5) == []


def echo(after: int, noise: float = 0.0) -> NextLogits:
    """A rule that says what followed the last ids before, and now and then something else."""
    chance = random_rule(after, scale=max(noise, 1e-9))

    def rule(ids):
        logits = chance(ids)
        guess = find_draft(list(ids), 1)
        if guess and len(ids) % after:
            logits[guess[0]] += 6
        return logits

    return rule


def complete(
    rule: NextLogits, *, window: int = 256, prompt: str = PROMPT, **options: Any
) -> tuple[Any, FakeModel]:
    """The completion, without its times, and the model that was asked."""
    model = FakeModel(rule, context_length=window)
    make = TextGenerator.from_engine(Engine(model, ByteTokenizer(), None, (EOS,), {}))
    (found,) = make.complete(prompt, GenerationConfig(**options))
    return (found.token_ids, found.text, found.finish_reason, found.logprobs), model


OPTIONS = {
    "greedy": {"do_sample": False},
    "sampled": {"seed": 3},
    "hot": {"seed": 4, "temperature": 1.5, "top_k": 0, "top_p": None},
    "rules": {"do_sample": False, "repetition_penalty": 1.1, "no_repeat_ngram_size": 9, "min_new_tokens": 20},
    "logprobs": {"seed": 5, "logprobs": 2},
    "stop strings": {"do_sample": False, "stop_strings": ["dog", "q"]},
    "ends": {"seed": 6, "eos_token_id": [EOS, *range(60, 110, 7)]},
    "short": {"do_sample": False, "max_new_tokens": 3},
}


class TestTheText:
    @pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
    @pytest.mark.parametrize("name", OPTIONS)
    @pytest.mark.parametrize("tokens", [1, 4, 10])
    def test_is_that_without_speculation(self, name, noise, tokens):
        options = {"max_new_tokens": 60} | OPTIONS[name]
        rule = echo(7, noise)
        guessing, _ = complete(rule, prompt_lookup_num_tokens=tokens, **options)
        plain, _ = complete(rule, **options)
        assert guessing == plain

    @pytest.mark.parametrize("overflow", ["slide", "stop"])
    def test_is_the_same_when_the_window_is_full(self, overflow):
        options = {"do_sample": False, "max_new_tokens": 90, "context_overflow": overflow}
        guessing, _ = complete(echo(7), window=40, prompt_lookup_num_tokens=6, **options)
        plain, _ = complete(echo(7), window=40, **options)
        assert guessing == plain

    def test_is_the_same_beside_other_prompts(self):
        model = FakeModel(echo(5, 1.0), context_length=256)
        make = TextGenerator.from_engine(Engine(model, ByteTokenizer(), None, (EOS,), {}))
        configs = [{"prompt_lookup_num_tokens": 5}, {}, {"num_beams": 2}, {"prompt_lookup_num_tokens": 2}]
        common = GenerationConfig(do_sample=False, max_new_tokens=40)
        together = make.complete_batch([PROMPT] * 4, configs, common)
        alone = [make.complete(PROMPT, common, **options) for options in configs]
        assert [c.token_ids for (c,) in together] == [c.token_ids for (c,) in alone]

    def test_streams_as_it_is_confirmed(self):
        model = FakeModel(scripted("dog and the cat"), context_length=256)
        make = TextGenerator.from_engine(Engine(model, ByteTokenizer(), None, (EOS,), {}))
        pieces = list(make.stream(f"{PROMPT}: ", do_sample=False, prompt_lookup_num_tokens=6))
        assert "".join(pieces) == "dog and the cat"
        assert 1 < len(pieces) < len("dog and the cat")


class RunCounter(FakeModel):
    """Counts the runs of the graph, of whatever size."""

    runs = 0

    def decoder(self, **_):
        model = self

        class Counted(FakeDecoder):
            def prefill(self, *args, **options):
                model.runs += 1
                return super().prefill(*args, **options)

            def step(self, tokens):
                model.runs += 1
                return super().step(tokens)

        return Counted(model)


def runs_for(rule: NextLogits, prompt: str, **options: Any) -> tuple[int, int]:
    """How many runs how many tokens took."""
    model = RunCounter(rule, context_length=256)
    make = TextGenerator.from_engine(Engine(model, ByteTokenizer(), None, (EOS,), {}))
    (found,) = make.complete(prompt, do_sample=False, prompt_lookup_num_tokens=10, **options)
    return model.runs, len(found.token_ids)


class TestTheWork:
    def test_is_few_runs_where_the_text_repeats_itself(self):
        runs, tokens = runs_for(scripted("the cat and the dog and the cat and the dog"), f"{PROMPT}: ")
        assert tokens == 44
        assert runs < tokens / 3

    def test_is_a_run_for_each_token_where_nothing_repeats(self):
        following = np.eye(258, dtype=np.float32)
        runs, tokens = runs_for(lambda ids: following[ids[-1] + 1], "0", max_new_tokens=30)
        assert runs == tokens == 30
