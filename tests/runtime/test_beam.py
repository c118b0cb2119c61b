"""Beam search against transformers 4.46.3, against exhaustive search, and in a batch."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_language

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.beam import BeamGroup, Finished
from llmbuilder.decoding.continuation import TextStream
from llmbuilder.decoding.logits import log_softmax
from llmbuilder.decoding.loop import Loop
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.ranking import make_scorer
from llmbuilder.decoding.stopping import StopMatcher
from llmbuilder.detokenizer import Detokenizer
from llmbuilder.engine.loading import Engine
from llmbuilder.errors import ContextOverflowError, LLMBuilderError
from llmbuilder.generator import Completion, TextGenerator
from llmbuilder.testing import BYTE_VOCAB, EOS, ByteTokenizer, FakeModel, NextLogits, random_rule, scripted

CASES = json.loads(Path(__file__).with_name("beam_cases.json").read_text(encoding="utf-8"))
WINDOW = 64


def beam_group(config: GenerationConfig, vocab_size: int, prompt: Sequence[int], **parts: Any) -> BeamGroup:
    """A search that has not begun."""
    eos, pad = config.eos_ids or (), config.pad_token_id
    task = Prompt(tuple(prompt), "", config, eos, WINDOW, config.max_new_tokens, pad_id=pad or 0)
    detokenizer = Detokenizer(ByteTokenizer())
    stream = TextStream(detokenizer, StopMatcher(config.stop_strings or ()), detokenizer.start(prompt))
    return BeamGroup(task, stream, make_scorer(task, vocab_size), **parts)


def run(model: FakeModel, group: BeamGroup) -> None:
    """Run a search to its end."""
    loop = Loop(model.decoder, max_rows=3)
    loop.add(group)
    while not loop.idle:
        loop.advance()


def beams(
    rule: NextLogits, vocab_size: int, prompt: Sequence[int], options: dict[str, Any]
) -> list[Finished]:
    """What a beam search finds, best first."""
    group = beam_group(GenerationConfig(do_sample=False, **options), vocab_size, prompt)
    run(FakeModel(rule, vocab_size=vocab_size, context_length=WINDOW), group)
    return group.hypotheses()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["seed"]))
def test_finds_what_transformers_finds(case):
    rule = partial(tiny_language.logits, case["seed"], vocab_size=case["vocab_size"])
    found = beams(rule, case["vocab_size"], case["prompt"], case["options"])
    ends = case["options"].get("eos_token_id", [])
    # transformers writes the first EOS id whichever ended the text: compared is what comes before it.
    texts = [list(f.beam.ids[:-1] if f.beam.ids[-1] in ends else f.beam.ids) for f in found]
    assert texts == [ids for ids, _ in case["results"]]
    assert [f.score for f in found] == pytest.approx(
        [score for _, score in case["results"]], rel=1e-5, abs=1e-5
    )


def generator(
    vocab_size: int = BYTE_VOCAB, *, rule: NextLogits | None = None, window: int = WINDOW
) -> TextGenerator:
    """Texts of bytes, by default random ones."""
    model = FakeModel(rule or random_rule(3), vocab_size=vocab_size, context_length=window)
    return TextGenerator.from_engine(Engine(model, ByteTokenizer(), None, (), {}))


class TestWithAsManyBeamsAsTexts:
    """Beam search then forgets nothing: it must find the best of all texts."""

    VOCAB, LENGTH, EOS = 3, 3, 2
    RULE = staticmethod(partial(tiny_language.logits, 5, vocab_size=VOCAB))

    def all_texts(self, length_penalty: float) -> list[tuple[float, tuple[int, ...]]]:
        """Every text with its score, best first."""
        texts = []
        waiting = [((), 0.0)]
        while waiting:
            ids, total = waiting.pop()
            if len(ids) == self.LENGTH or ids[-1:] == (self.EOS,):
                texts.append((total / len(ids) ** length_penalty, ids))
            else:
                logs = log_softmax(self.RULE((0, *ids)))
                waiting += [((*ids, token), total + float(logs[token])) for token in range(self.VOCAB)]
        return sorted(texts, reverse=True)

    @pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.0])
    def test_finds_every_text_in_order_and_none_twice(self, length_penalty):
        options = {
            "num_beams": 30,
            "num_return_sequences": 30,
            "max_new_tokens": self.LENGTH,
            "early_stopping": "never",
            "eos_token_id": self.EOS,
            "length_penalty": length_penalty,
        }
        found = beams(self.RULE, self.VOCAB, [0], options)
        expected = self.all_texts(length_penalty)
        assert [f.beam.ids for f in found] == [ids for _, ids in expected]
        assert [f.score for f in found] == pytest.approx([score for score, _ in expected], rel=1e-5)


VARIANTS = {
    "plain": {},
    "eos": {"eos_token_id": list(range(0, BYTE_VOCAB, 9)), "num_return_sequences": 3},
    "rules": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
    "groups": {"num_beam_groups": 3, "diversity_penalty": 0.7, "num_return_sequences": 3},
    "sampled": {"do_sample": True, "seed": 4, "num_return_sequences": 2},
    "without cache": {"use_cache": False},
    "stop strings": {"stop_strings": ["a", "7", "x"]},
}


def wanted(**options: Any) -> GenerationConfig:
    """Three beams, few tokens."""
    return GenerationConfig(**{"do_sample": False, "num_beams": 3, "max_new_tokens": 12, **options})


class TestInABatch:
    @pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
    def test_every_prompt_gets_what_it_gets_alone(self, batch_size):
        make = generator()
        prompts = [[10 + i, 20, *range(i)] for i in range(len(VARIANTS) + 2)]
        configs = [wanted(**options) for options in VARIANTS.values()]
        configs += [GenerationConfig(do_sample=False), GenerationConfig(seed=1, num_return_sequences=2)]
        together = make.complete_batch(prompts, configs, batch_size=batch_size)
        alone = [make.complete(prompt, config) for prompt, config in zip(prompts, configs, strict=True)]
        assert ids_and_texts(together) == ids_and_texts(alone)

    @pytest.mark.parametrize(("batch_size", "most"), [(1, 4), (8, 8), (11, 8), (12, 12)])
    def test_prompts_share_the_rows_that_there_are(self, batch_size, most):
        make = generator()
        make.complete_batch([[1], [2], [3]], config=wanted(num_beams=4), batch_size=batch_size)
        assert make._engine.model.most_rows == most


def ids_and_texts(completions: list[list[Completion]]) -> list[list[tuple[Any, ...]]]:
    """What must not depend on the batch."""
    return [[(c.token_ids, c.text, c.finish_reason) for c in each] for each in completions]


class TestSampling:
    def test_repeats_itself_with_a_seed_and_only_with_one(self):
        make = generator()
        flat = {"do_sample": True, "temperature": 2.0, "top_k": 0, "top_p": None, "max_new_tokens": 20}
        first, second, other, unseeded = (
            make.complete([1, 2], wanted(seed=seed, **flat))[0].token_ids for seed in (7, 7, 8, None)
        )
        assert first == second
        assert len({first, other, unseeded}) == 3

    def test_draws_the_first_beams_without_replacement(self):
        """Of two beams after one token: the two best of four drawn from five."""
        logits = np.array([1.0, 0.5, 0.0, -0.5, -1.0], np.float32)
        make = generator(5, rule=lambda _: logits)
        options = wanted(
            do_sample=True, num_beams=2, num_return_sequences=2, max_new_tokens=1, top_k=0, top_p=1.0
        )
        runs = 2000
        counts = Counter(
            tuple(c.token_ids[0] for c in make.complete([0], options, seed=seed, temperature=1.0))
            for seed in range(runs)
        )
        expected = expected_pairs(np.exp(logits) / np.exp(logits).sum())
        assert set(counts) == set(expected)
        statistic = sum(
            (counts[pair] - runs * share) ** 2 / (runs * share) for pair, share in expected.items()
        )
        assert statistic < 13.9  # p = 0.001 with 2 degrees of freedom, one more than needed


def expected_pairs(likely: np.ndarray) -> dict[tuple[int, ...], float]:
    """How likely each pair is to be the best of four drawn one after the other; ids are in order of likelihood."""
    shares: Counter[tuple[int, ...]] = Counter()
    for order in permutations(range(likely.size), 4):
        left, share = 1.0, 1.0
        for token in order:
            share *= likely[token] / left
            left -= likely[token]
        shares[tuple(sorted(order)[:2])] += share
    return dict(shares)


class TestAStopString:
    def test_finishes_the_beam_it_occurs_in_and_is_cut_off(self):
        """The likeliest text goes on with "b."; what stops there is better than anything longer."""
        make = generator(rule=scripted("a.b.c.d"))
        (found,) = make.complete("x", wanted(stop_strings="b.", length_penalty=0.0))
        assert (found.text, found.finish_reason) == ("a.", "stop")
        assert bytes(found.token_ids) == b"a.b."

    def test_leaves_other_beams_to_go_on(self):
        rule = partial(tiny_language.logits, 11, vocab_size=BYTE_VOCAB)
        options = wanted(stop_strings=[chr(i) for i in range(0, 128, 2)], num_return_sequences=3)
        found = generator(rule=rule).complete("x", options)
        assert {c.finish_reason for c in found} == {"stop"}
        assert len({len(c.token_ids) for c in found}) > 1
        assert all(chr(c.token_ids[-1]) not in c.text for c in found)

    def test_that_never_occurs_changes_nothing(self):
        make = generator()
        for do_sample in (False, True):
            options = wanted(do_sample=do_sample, seed=1, num_return_sequences=3)
            plain, stopping = (make.complete("x", options, stop_strings=stop) for stop in (None, ["zzqx"]))
            assert ids_and_texts([plain]) == ids_and_texts([stopping])

    @pytest.mark.parametrize("early_stopping", [True, False, "never"])
    @pytest.mark.parametrize("length_penalty", [0.0, 1.0, 3.0])
    def test_of_one_token_ends_beams_exactly_as_eos_does(self, early_stopping, length_penalty):
        """Most tokens end a text here, and every likely one does: beams go on with what is left."""
        logits = np.full(BYTE_VOCAB, -9.0, np.float32)
        logits[97:123] = 3 - np.arange(26) / 1000
        options = wanted(
            max_new_tokens=5,
            num_return_sequences=3,
            early_stopping=early_stopping,
            length_penalty=length_penalty,
        )
        make = generator(rule=lambda _: logits)
        by_eos = make.complete("x", options, eos_token_id=list(range(97, 109)))
        by_stop = make.complete("x", options, stop_strings=list("abcdefghijkl"))
        assert [c.token_ids for c in by_stop] == [c.token_ids for c in by_eos]
        assert [c.text for c in by_stop] == [c.text for c in by_eos]

    def test_may_be_released_by_the_end(self):
        """Half a character is text at the end, and may be what a stop string waits for."""
        make = generator(rule=scripted("\N{EURO SIGN}"))
        (found,) = make.complete("x", wanted(max_new_tokens=2, stop_strings="\N{REPLACEMENT CHARACTER}"))
        assert (found.text, found.finish_reason) == ("", "stop")


class TestTheEnd:
    def test_names_its_reason(self):
        make = generator(rule=scripted("abc"))
        reasons = [
            make.complete("x", wanted(max_new_tokens=tokens, eos_token_id=EOS))[0].finish_reason
            for tokens in (3, 4)
        ]
        assert reasons == ["length", "eos"]

    def test_eos_is_among_the_ids_and_not_in_the_text(self):
        make = generator(rule=scripted("abc"))
        (found,) = make.complete("x", wanted(eos_token_id=[EOS, 200]))
        assert found.token_ids == (*b"abc", EOS)
        assert found.text == "abc"

    def test_comes_after_the_token_that_exceeds_max_time(self):
        ticks = iter(range(100))
        config = wanted(max_time=2.5, max_new_tokens=50, num_return_sequences=3)
        group = beam_group(config, BYTE_VOCAB, [1], clock=lambda: next(ticks))
        run(FakeModel(random_rule()), group)
        assert [(len(o.token_ids), o.finish_reason) for o in group.completions()] == [(3, "time")] * 3

    def test_times_are_those_of_each_hypothesis(self):
        ticks = iter(range(100))
        config = wanted(eos_token_id=EOS)
        group = beam_group(config, BYTE_VOCAB, [1], clock=lambda: next(ticks))
        run(FakeModel(scripted("ab")), group)
        (completion,) = group.completions()
        assert (completion.seconds_to_first_token, completion.tokens_per_second) == (1, 1)

    @pytest.mark.parametrize(
        "options", [{}, {"num_beam_groups": 3, "diversity_penalty": 1.0}, {"do_sample": True}]
    )
    def test_comes_to_beams_whose_every_token_is_forbidden(self, options):
        """Without a token left a beam ends with EOS, as a single row does."""
        make = generator(6, rule=partial(tiny_language.logits, 1, vocab_size=6))
        config = wanted(
            no_repeat_ngram_size=1, eos_token_id=5, num_return_sequences=3, min_new_tokens=9, **options
        )
        found = make.complete([0], config)
        assert [c.finish_reason for c in found] == ["eos"] * 3
        assert all(sorted(c.token_ids) == [1, 2, 3, 4, 5] for c in found)

    @pytest.mark.parametrize("seed", range(20))
    def test_leaves_as_many_texts_as_are_asked_for(self, seed):
        options = wanted(
            num_beams=4,
            num_return_sequences=4,
            no_repeat_ngram_size=1,
            eos_token_id=[0, 1, 2],
            stop_strings=["\x03", "\x04"],
            do_sample=seed % 2 == 1,
            seed=seed,
        )
        make = generator(6, rule=partial(tiny_language.logits, seed, vocab_size=6))
        texts = [c.token_ids for c in make.complete([5], options)]
        assert len(texts) == len(set(texts)) == 4


DAMAGED = "weights or their quantization are damaged"


class TestAnError:
    @pytest.mark.parametrize(
        "options", [{}, {"do_sample": True, "seed": 1}, {"num_beam_groups": 3, "diversity_penalty": 1.0}]
    )
    @pytest.mark.parametrize("position", [0, 3])
    def test_is_the_prompts_own_and_leaves_its_neighbours_alone(self, options, position):
        """A model of which some prompts find the damaged part."""

        def rule(ids: Sequence[int]) -> np.ndarray:
            row = tiny_language.logits(1, ids, BYTE_VOCAB)
            return np.full_like(row, np.nan) if ids[0] == 66 and len(ids) > position else row

        make = generator(rule=rule)
        config = wanted(**options)
        results = dict(make.complete_each([("a", config), ("B", config), ("c", config)]))
        assert isinstance(results[1], LLMBuilderError)
        assert DAMAGED in str(results[1])
        assert results[0][0].token_ids == make.complete("a", config)[0].token_ids
        with pytest.raises(LLMBuilderError, match=DAMAGED):
            make.complete("B", config)

    def test_says_that_nothing_is_allowed_and_nothing_can_end(self):
        with pytest.raises(LLMBuilderError, match="forbid every token"):
            generator(6).complete(list(range(6)), wanted(no_repeat_ngram_size=1))


class TestAFullWindow:
    def test_slides_every_beam(self):
        """What a beam is then computed from is the end of its own text."""
        seen = set()

        def rule(ids: Sequence[int]) -> np.ndarray:
            seen.add(tuple(ids))
            return tiny_language.logits(2, ids[-3:], 10)

        found = generator(10, rule=rule, window=8).complete(
            [1, 2, 3, 4], wanted(max_new_tokens=20, num_beams=2)
        )
        unlimited = generator(10, rule=rule).complete([1, 2, 3, 4], wanted(max_new_tokens=20, num_beams=2))
        assert [c.token_ids for c in found] == [c.token_ids for c in unlimited]
        assert max(len(ids) for ids in seen) > 8

    def test_ends_every_beam_where_asked(self):
        make = generator(window=8)
        found = make.complete([1, 2, 3], wanted(context_overflow="stop", num_return_sequences=3))
        assert [(len(c.token_ids), c.finish_reason) for c in found] == [(6, "length")] * 3

    def test_is_an_error_where_asked(self):
        with pytest.raises(ContextOverflowError, match="window of 8"):
            generator(window=8).complete([1, 2, 3], wanted(context_overflow="error"))


class TestWithoutCache:
    def test_says_the_same_while_the_window_holds(self):
        make = generator()
        with_cache, without = (
            make.complete([1, 2, 3], wanted(num_return_sequences=3, use_cache=use_cache))
            for use_cache in (True, False)
        )
        assert [c.token_ids for c in with_cache] == [c.token_ids for c in without]

    def test_computes_every_token_from_exactly_the_last_window(self):
        seen = []

        def rule(ids: Sequence[int]) -> np.ndarray:
            seen.append(len(ids))
            return tiny_language.logits(2, ids, 10)

        generator(10, rule=rule, window=6).complete([1, 2, 3], wanted(use_cache=False, max_new_tokens=9))
        assert max(seen) == 6


def test_logprobs_are_those_of_each_beams_own_tokens():
    make = generator()
    for completion in make.complete(
        [1, 2], wanted(num_return_sequences=3, logprobs=0, repetition_penalty=1.5)
    ):
        score = make.score([1, 2, *completion.token_ids])
        assert [step.logprob for step in completion.logprobs] == pytest.approx(score.logprobs[1:], rel=1e-5)
