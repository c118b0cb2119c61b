import threading
from dataclasses import replace

import numpy as np
import pytest

from llmbuilder.chat.interface import ChatInterface
from llmbuilder.config import GenerationConfig
from llmbuilder.engine.loading import Lease
from llmbuilder.errors import ConfigError, ContextOverflowError, LLMBuilderError
from llmbuilder.generator import TextGenerator
from llmbuilder.scheduling.asynchronous import AsyncTextGenerator
from llmbuilder.testing import BOS, BYTE_VOCAB, EOS, fake_engine, random_rule, scripted

GREEDY = GenerationConfig(do_sample=False)
LONG = GenerationConfig(max_new_tokens=12, early_stopping=False)


@pytest.fixture
def make():
    """A generator over a fake model."""

    def make(rule, *, context_length=64, defaults=None, config=None, **facts):
        engine = replace(fake_engine(rule, context_length=context_length), defaults=defaults or {}, **facts)
        return TextGenerator.from_engine(engine, config)

    return make


@pytest.fixture
def says(make):
    """A generator that says one text, then EOS."""
    return lambda text, **options: make(scripted(text), config=GREEDY, **options)


@pytest.fixture
def random(make):
    """A generator whose tokens depend on everything before them."""
    return make(random_rule(), config=LONG)


class TestOptionsOfAllCalls:
    def test_may_be_named_and_win_over_those_of_the_config(self, random):
        named = TextGenerator(random.engine, config=LONG, max_new_tokens=5, seed=3)
        assert named.generate("a") == random.generate("a", max_new_tokens=5, seed=3)

    def test_are_refused_before_a_model_is_looked_for(self):
        with pytest.raises(ConfigError, match=r"'max_tokens'.* Did you mean 'max_new_tokens'"):
            TextGenerator("nowhere", max_tokens=3)

    def test_are_those_of_an_asynchronous_one_too(self, random):
        named = AsyncTextGenerator(random.engine, config=LONG, max_new_tokens=5, seed=3)
        assert (named.config.max_new_tokens, named.config.seed) == (5, 3)


class TestText:
    def test_is_the_continuation_only(self, says):
        assert says("a fox").generate("Here is ") == "a fox"

    def test_begins_with_the_prompt_as_given_if_asked(self, says):
        generator = says("a fox")
        assert generator.generate("Here</s> is ", return_full_text=True) == "Here</s> is a fox"
        assert generator.generate_batch(["x", ""], return_full_text=True) == ["xa fox", "a fox"]
        assert "".join(generator.stream("Łódź ", return_full_text=True)) == "Łódź a fox"
        assert generator.complete("x", return_full_text=True)[0].text == "xa fox"

    def test_of_a_prompt_of_ids_begins_with_their_text(self, says):
        assert says("!").complete([BOS, *b"hi"], return_full_text=True)[0].text == "hi!"

    def test_ends_before_a_stop_string(self, says):
        assert says("one END two").generate("", stop_strings=["two", "END"]) == "one "

    def test_may_be_empty(self, says):
        assert says("").generate("x") == ""

    def test_of_an_empty_prompt_begins_from_bos(self, says):
        (completion,) = says("hi").complete("")
        assert (completion.text, completion.prompt_tokens) == ("hi", 1)

    def test_holds_characters_of_many_bytes(self, says):
        assert says("Łódź 🦊 日本語").generate("x") == "Łódź 🦊 日本語"


class TestStream:
    def test_gives_one_piece_a_token_as_soon_as_it_is_certain(self, says):
        assert list(says("ab🦊c").stream("x")) == ["a", "b", "🦊", "c"]

    def test_holds_back_what_may_become_a_stop_string(self, says):
        assert list(says("a ENx END").stream("x", stop_strings="END")) == ["a", " ", "ENx", " "]

    def test_releases_what_it_held_back_at_the_end(self, says):
        assert list(says("a EN").stream("x", stop_strings="END")) == ["a", " ", "EN"]

    @pytest.mark.parametrize("overflow", ["slide", "stop"])
    def test_joined_is_what_generate_returns_with_the_same_seed(self, make, overflow):
        generator = make(random_rule(), context_length=8, config=LONG)
        options = {"stop_strings": "qz", "context_overflow": overflow}
        for seed in range(20):
            streamed = "".join(generator.stream("ab", seed=seed, **options))
            assert streamed == generator.generate("ab", seed=seed, **options)

    def test_computes_nothing_before_it_is_read(self, random):
        random.stream("x")
        assert random._engine.model.prefilled == 0

    def test_computes_a_token_only_when_it_is_asked_for(self, says):
        generator = says("abcdef")
        pieces = generator.stream("x")
        next(pieces)
        next(pieces)
        assert generator._engine.model.steps == 1

    def test_stops_the_work_when_closed(self, says):
        generator = says("abcdef")
        pieces = generator.stream("x")
        next(pieces)
        pieces.close()
        assert list(pieces) == []
        assert generator._engine.model.steps == 0

    def test_takes_ids_for_a_prompt(self, says):
        assert "".join(says("hi").stream([1, 2])) == "hi"

    def test_with_beams_is_refused(self, random):
        with pytest.raises(ConfigError, match="generate"):
            random.stream("x", num_beams=2)

    def test_of_many_sequences_is_refused(self, random):
        with pytest.raises(ConfigError, match="complete"):
            random.stream("x", num_return_sequences=2)


class TestBatch:
    def test_gives_each_prompts_own_text_in_order(self, random):
        prompts = ["a", "bcd", "", "ef", "ghijkl"]
        alone = [random.generate(prompt, seed=3) for prompt in prompts]
        assert random.generate_batch(prompts, seed=3) == alone
        assert random.generate_batch(prompts, seed=3, batch_size=2) == alone

    @pytest.mark.parametrize(("batch_size", "rows"), [(None, 8), (1, 1), (3, 3), (100, 10)])
    def test_never_decodes_more_rows_than_the_batch_size(self, random, batch_size, rows):
        random.generate_batch(["x"] * 10, batch_size=batch_size)
        assert random._engine.model.most_rows == rows

    def test_of_nothing_is_nothing(self, random):
        assert random.generate_batch([]) == []

    def test_of_equal_prompts_with_a_seed_gives_equal_texts(self, random):
        assert len(set(random.generate_batch(["x"] * 3, seed=1))) == 1

    def test_without_a_seed_gives_different_texts(self, random):
        assert len(set(random.generate_batch(["x"] * 3))) == 3

    def test_refuses_a_string_in_place_of_a_list(self, random):
        with pytest.raises(ConfigError, match="list of prompts"):
            random.generate_batch("one prompt")

    def test_refuses_many_sequences(self, random):
        with pytest.raises(ConfigError, match=r"complete\(\) and complete_batch\(\)"):
            random.generate_batch(["x"], num_return_sequences=2)

    def test_takes_options_for_each_prompt(self, says):
        configs = [{"max_new_tokens": 2}, None, GenerationConfig(stop_strings="d")]
        results = says("abcdef").complete_batch(["x", "y", "z"], configs, max_new_tokens=5)
        assert [completion.text for (completion,) in results] == ["ab", "abcde", "abc"]

    @pytest.mark.parametrize(
        ("configs", "message"),
        [
            ([5], "must be a GenerationConfig or a dict of options, got 5"),
            ([{1: 2}], "Unknown generation option 1"),
            ([{"batch_size": 2}], "batch_size holds for all prompts"),
            ([GenerationConfig(batch_size=2)], "batch_size holds for all prompts"),
        ],
    )
    def test_refuses_what_is_no_option_of_one_prompt(self, random, configs, message):
        with pytest.raises(ConfigError, match=message):
            random.complete_batch(["x"], configs)

    @pytest.mark.parametrize("wrong", [{"device": ["cpu"]}, {"device": "tpu"}, {"threads": 1.5}])
    def test_refuses_an_impossible_device_before_anything_is_looked_for(self, wrong):
        with pytest.raises(ConfigError, match="must be"):
            TextGenerator("nowhere", **wrong)

    def test_refuses_what_is_no_config_before_anything_is_loaded(self):
        with pytest.raises(ConfigError, match="must be a GenerationConfig or a dict of options, got"):
            TextGenerator("nowhere", config="creative")

    @pytest.mark.parametrize("prompts", [None, 5, "x"])
    def test_refuses_what_is_no_list_of_prompts(self, random, prompts):
        with pytest.raises(ConfigError, match="list of prompts"):
            random.complete_batch(prompts)

    def test_wants_as_many_configs_as_prompts(self, random):
        with pytest.raises(ConfigError, match="each of the 2 prompts, got 1"):
            random.complete_batch(["x", "y"], [None])

    def test_mixes_numbers_of_sequences(self, random):
        configs = [{"num_return_sequences": 3}, {"num_return_sequences": 1}]
        assert [len(each) for each in random.complete_batch(["x", "y"], configs)] == [3, 1]


class TestLimits:
    def test_max_new_tokens(self, random):
        assert len(random.complete("x", max_new_tokens=5)[0].token_ids) == 5

    def test_max_length_counts_the_prompt(self, random):
        (completion,) = random.complete("abc", max_length=5)
        assert (len(completion.token_ids), completion.finish_reason) == (2, "length")

    def test_min_new_tokens_forbids_eos_before_them(self, says):
        (completion,) = says("hi").complete("x", min_new_tokens=10, max_new_tokens=40)
        assert EOS not in completion.token_ids[:10]
        assert len(completion.token_ids) > 10

    def test_ids_only_the_model_knows_are_never_generated(self, make):
        engine = fake_engine(lambda ids: np.arange(400, dtype=np.float32))
        engine.model.facts = replace(engine.model.facts, vocab_size=400)
        generator = TextGenerator.from_engine(engine, GenerationConfig(do_sample=False, early_stopping=False))
        assert set(generator.complete("x", max_new_tokens=3)[0].token_ids) == {BYTE_VOCAB - 1}

    def test_a_truncated_prompt_says_how_much_is_gone(self, make):
        generator = make(random_rule(), context_length=8, config=LONG)
        (completion,) = generator.complete("a" * 20, truncate_prompt=True, max_new_tokens=1)
        assert (completion.prompt_tokens, completion.truncated_tokens) == (8, 12)

    def test_a_prompt_beyond_the_window_is_refused(self, make):
        with pytest.raises(ContextOverflowError, match=r"20 tokens.*holds 8"):
            make(random_rule(), context_length=8).generate("a" * 20)


class TestSeeds:
    def test_the_same_seed_gives_the_same_text(self, random):
        assert random.generate("x", seed=7) == random.generate("x", seed=7)

    def test_other_seeds_and_no_seed_give_other_texts(self, random):
        texts = [random.generate("x", seed=seed) for seed in (1, 2, None, None)]
        assert len(set(texts)) == 4

    def test_sequences_of_one_prompt_differ_and_are_reproducible(self, random):
        first = random.complete("x", num_return_sequences=4, seed=1)
        again = random.complete("x", num_return_sequences=4, seed=1)
        assert [c.token_ids for c in first] == [c.token_ids for c in again]
        assert len({c.token_ids for c in first}) == 4

    def test_a_sequence_does_not_depend_on_how_many_are_asked_for(self, random):
        many = random.complete("x", num_return_sequences=3, seed=1)
        few = random.complete("x", num_return_sequences=2, seed=1)
        assert [c.token_ids for c in few] == [c.token_ids for c in many[:2]]
        assert random.complete("x", seed=1)[0].token_ids == many[0].token_ids

    def test_greedy_decoding_needs_no_seed(self, random):
        assert random.generate("x", do_sample=False) == random.generate("x", do_sample=False)


class TestLogprobs:
    def reference(self, ids):
        logits = random_rule()(ids).astype(np.float64)
        return logits - np.log(np.exp(logits).sum())

    def test_are_those_of_the_raw_distribution(self, random):
        (completion,) = random.complete(
            "x", logprobs=3, temperature=0.1, top_k=2, seed=1, repetition_penalty=3.0
        )
        assert len(completion.logprobs) == len(completion.token_ids)
        ids = list(b"x")
        for token, at in zip(completion.token_ids, completion.logprobs, strict=True):
            expected = self.reference(ids)
            assert at.logprob == pytest.approx(expected[token], abs=1e-5)
            likeliest = np.argsort(-expected)[:3]
            assert [i for i, _ in at.top] == likeliest.tolist()
            assert [p for _, p in at.top] == pytest.approx(expected[likeliest].tolist(), abs=1e-5)
            ids.append(token)

    def test_zero_reports_the_token_alone(self, random):
        assert all(at.top == () for at in random.complete("x", logprobs=0)[0].logprobs)

    def test_are_absent_unless_asked_for(self, random):
        assert random.complete("x")[0].logprobs is None


class TestCompletion:
    def test_token_ids_hold_eos_and_text_does_not(self, says):
        (completion,) = says("hi").complete("x")
        assert (completion.text, completion.token_ids, completion.finish_reason) == (
            "hi",
            (*b"hi", EOS),
            "eos",
        )

    def test_token_ids_hold_the_stop_string_and_text_does_not(self, says):
        (completion,) = says("one END").complete("x", stop_strings="END")
        assert (completion.text, bytes(completion.token_ids), completion.finish_reason) == (
            "one ",
            b"one END",
            "stop",
        )

    def test_going_past_eos_leaves_it_out_of_the_text(self, says):
        (completion,) = says("hi").complete("x", early_stopping=False, max_new_tokens=6)
        assert (completion.text, completion.finish_reason) == ("hihi", "length")

    def test_the_configs_eos_replaces_the_models(self, says):
        (completion,) = says("hello").complete("x", eos_token_id=[1, ord("l")])
        assert (completion.text, completion.finish_reason) == ("he", "eos")

    def test_times_are_not_negative(self, random):
        (completion,) = random.complete("x")
        assert completion.seconds_to_first_token >= 0
        assert completion.tokens_per_second > 0

    def test_one_token_has_no_speed(self, random):
        assert random.complete("x", max_new_tokens=1)[0].tokens_per_second == 0.0


class TestOptions:
    def test_layers_from_the_bundle_to_the_call(self, make):
        generator = make(
            scripted("abcdefghij"),
            defaults={"max_new_tokens": 1, "do_sample": False},
            config=None,
        )
        assert generator.generate("x") == "a"
        layered = make(
            scripted("abcdefghij"),
            defaults={"max_new_tokens": 1, "do_sample": False},
            config=GenerationConfig(max_new_tokens=2),
        )
        assert layered.generate("x") == "ab"
        assert layered.generate("x", GenerationConfig(max_new_tokens=3)) == "abc"
        assert layered.generate("x", GenerationConfig(max_new_tokens=3), max_new_tokens=4) == "abcd"

    def test_a_config_leaves_what_it_does_not_name_to_the_bundle(self, make):
        generator = make(scripted("abcdef"), defaults={"max_new_tokens": 2, "do_sample": False})
        assert generator.generate("x", GenerationConfig(seed=1)) == "ab"

    @pytest.mark.parametrize("call", ["generate", "stream", "complete"])
    def test_unknown_names_are_refused_before_any_work(self, random, call):
        with pytest.raises(ConfigError, match="max_new_tokens"):
            getattr(random, call)("x", max_tokens=3)
        assert random._engine.model.prefilled == 0

    def test_one_bad_prompt_of_a_batch_is_refused_before_any_work(self, random):
        with pytest.raises(ContextOverflowError):
            random.generate_batch(["x", "y" * 100])
        assert random._engine.model.prefilled == 0


class TestPrompts:
    def test_may_be_ids_of_any_integer_kind(self, says):
        assert says("hi").complete(np.array([1, 2]))[0].text == "hi"

    def test_special_tokens_in_text_are_parsed(self, says):
        assert says("hi").complete("a</s>")[0].prompt_tokens == 2

    @pytest.mark.parametrize("ids", [[-1], [1, BYTE_VOCAB], [10**9]])
    def test_ids_outside_the_vocabulary_are_refused(self, random, ids):
        for call in (random.complete, random.stream, random.score):
            with pytest.raises(ConfigError, match=f"id {ids[-1]} at position {len(ids) - 1} is outside"):
                call(ids)

    @pytest.mark.parametrize("prompt", [None, 5, [1.5], ["a"], object()])
    def test_what_is_neither_text_nor_ids_is_refused(self, random, prompt):
        with pytest.raises(ConfigError, match="text or a sequence of token ids"):
            random.complete(prompt)

    def test_half_a_character_is_refused_by_place(self, random):
        with pytest.raises(ConfigError, match=r"half a character, '\\ud800', at position 1"):
            random.complete("a\ud800b")

    def test_an_empty_one_needs_a_bos(self, make):
        with pytest.raises(ConfigError, match="BOS"):
            make(random_rule(), bos_token_id=None).generate("")


class TestScore:
    def test_is_the_log_probability_of_each_id_after_those_before_it(self, make):
        generator = make(random_rule(), context_length=300)
        ids = [(7 * n) % 256 for n in range(290)]
        score = generator.score(ids)
        logits = [random_rule()(ids[:n]).astype(np.float64) for n in range(1, 290)]
        expected = [row[ids[n]] - np.log(np.exp(row).sum()) for n, row in enumerate(logits, 1)]
        assert score.token_ids == tuple(ids)
        assert score.logprobs == pytest.approx(expected, abs=1e-4)
        assert score.perplexity == pytest.approx(np.exp(-np.mean(expected)), rel=1e-5)

    def test_has_the_likeliest_tokens_at_each_place_if_asked_for(self, random):
        score = random.score("abc", top=2)
        (completion,) = random.complete("a", do_sample=False, max_new_tokens=1, logprobs=2)
        assert [len(top) for top in score.top] == [2, 2]
        assert score.top[0] == completion.logprobs[0].top
        assert random.score("abc").top == ()
        with pytest.raises(ConfigError, match="top must be"):
            random.score("abc", top=-1)

    def test_of_text_is_that_of_its_ids(self, random):
        assert random.score("abc") == random.score(list(b"abc"))

    @pytest.mark.parametrize("text", ["", "a"])
    def test_of_fewer_than_two_tokens_has_nothing_to_judge(self, random, text):
        score = random.score(text)
        assert score.logprobs == ()
        assert np.isnan(score.perplexity)

    def test_computes_every_token_once(self, random):
        random.score("abcdef")
        assert random._engine.model.prefilled == 6

    def test_of_more_than_the_window_is_refused(self, make):
        with pytest.raises(ContextOverflowError, match=r"9 tokens.*window 8"):
            make(random_rule(), context_length=8).score("a" * 9)


class TestClosing:
    @pytest.fixture
    def users(self, monkeypatch):
        """Replaces loading by a fake model; the leases that were not given back."""
        users = set()

        def acquire(*args, **kwargs):
            lease = Lease(fake_engine(random_rule()), users.discard)
            users.add(lease)
            return lease

        monkeypatch.setattr("llmbuilder.generator.source.acquire", acquire)
        return users

    @pytest.fixture
    def generator(self, users):
        return TextGenerator("a model")

    def test_gives_the_model_back(self, generator, users):
        assert len(users) == 1
        generator.close()
        assert users == set()
        generator.close()

    def test_happens_at_the_end_of_a_with_block(self, generator, users):
        with generator as same:
            assert same is generator
            assert len(users) == 1
        assert users == set()

    def test_of_what_was_made_by_hand_gives_nothing_back(self, random):
        random.close()

    @pytest.mark.parametrize("call", ["generate", "stream", "complete", "score"])
    def test_makes_further_calls_an_error(self, generator, call):
        generator.close()
        with pytest.raises(ConfigError, match="closed"):
            getattr(generator, call)("x")


def hopeless(ids):
    """A rule whose numbers are broken where the prompt begins with ``x``."""
    logits = random_rule()(ids)
    return np.full_like(logits, np.nan) if ids[0] == ord("x") and len(ids) > 2 else logits


class TestBrokenLogits:
    def test_are_an_error(self, make):
        generator = make(hopeless, config=LONG)
        for call in (generator.generate, generator.complete, lambda prompt: list(generator.stream(prompt))):
            with pytest.raises(LLMBuilderError, match="llmb verify"):
                call("x")

    def test_of_one_prompt_do_not_disturb_the_others(self, make):
        generator = make(hopeless, config=LONG)
        requests = [("a", {"seed": 1}), ("x", None), ("x" * 5, None), ("b", {"seed": 1})]
        results = dict(generator.complete_each(requests))
        assert [isinstance(results[n], LLMBuilderError) for n in range(4)] == [False, True, True, False]
        assert results[3][0].text == generator.generate("b", seed=1)


def test_many_threads_may_share_one_generator(random):
    expected = [random.generate("x", seed=seed) for seed in range(8)]
    found = [None] * 8

    def work(seed):
        found[seed] = random.generate("x", seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_the_tokenizer_is_there_for_use(random):
    assert random.tokenizer.decode(random.tokenizer.encode("🦊")) == "🦊"


class TestMerging:
    """Options are merged once a call, and once more for a prompt that brings its own."""

    @pytest.fixture
    def merges(self, monkeypatch):
        counted = []
        merge = GenerationConfig.merge.__func__

        def counting(cls, *layers):
            counted.append(layers)
            return merge(cls, *layers)

        monkeypatch.setattr(GenerationConfig, "merge", classmethod(counting))
        return counted

    @pytest.mark.parametrize(
        ("call", "count"),
        [
            (lambda g: g.generate("a"), 1),
            (lambda g: list(g.stream("a")), 1),
            (lambda g: list(g.pieces("a", num_beams=2)), 1),
            (lambda g: g.generate_batch(["a"] * 10), 1),
            (lambda g: g.complete("a"), 1),
            (lambda g: g.complete_batch(["a"] * 10), 1),
            (lambda g: g.complete_batch(["a"] * 3, [None, {"seed": 1}, None]), 2),
            (lambda g: list(g.complete_each([("a", None)] * 5)), 1),
            (lambda g: list(g.complete_each([("a", None), ("b", {"seed": 1})])), 2),
        ],
    )
    def test_a_call_merges_once_and_a_prompt_only_its_own(self, merges, call, count):
        generator = TextGenerator(fake_engine(random_rule()), config=GenerationConfig(max_new_tokens=2))
        merges.clear()
        call(generator)
        assert len(merges) == count

    @pytest.mark.parametrize(("overrides", "count"), [({}, 1), ({"seed": 3}, 2)])
    def test_a_reply_merges_once_and_once_more_with_options_of_its_own(self, merges, overrides, count):
        generator = TextGenerator(fake_engine(random_rule()), config=GenerationConfig(max_new_tokens=2))
        chat = ChatInterface(generator)
        merges.clear()
        chat.respond("Hello.", **overrides)
        assert len(merges) == count
