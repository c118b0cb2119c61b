import re
import unicodedata

import numpy as np
import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.errors import ConfigError, ConstraintError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import EOS, fake_engine, random_rule, scripted

STRATEGIES = (
    {"do_sample": False},
    {"seed": 3},
    {"do_sample": False, "num_beams": 3},
    {"seed": 3, "num_beams": 2},
    {"do_sample": False, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    {"do_sample": False, "prompt_lookup_num_tokens": 3},
)


def constrained(rule, **constraint):
    return ConstrainedGenerator(
        TextGenerator.from_engine(fake_engine(rule, context_length=512)), **constraint
    )


def says(text, **constraint):
    """A generator whose model wants to say one text, then EOS."""
    return constrained(scripted(text), **constraint)


def letters(seed=0):
    """A rule that likes letters and spaces, in no order, and EOS now and then."""
    likely = np.full(258, -8.0, np.float32)
    likely[list(b"abcdefghilnorst  ")] = 0.0
    likely[EOS] = -2.0
    return lambda ids: likely + random_rule(seed, scale=1.0)(ids)


def has(word, text):
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


class TestForbidden:
    @pytest.mark.parametrize(
        "text", ["we learn now", "we LEARN", "Learn!", "learn", "we\nlearn\nnow", "(learn)"]
    )
    def test_words_never_appear_in_any_case_or_place(self, text):
        generated = says(text, forbidden_words=["learn"], max_length=12).generate("x ", do_sample=False)
        assert not has("learn", generated)

    def test_words_may_be_part_of_others(self):
        assert says("learning", forbidden_words=["learn"]).generate("x ", do_sample=False) == "learning"

    def test_substrings_may_not(self):
        generator = says("relearning", forbidden_words=["LEARN"], match="substring", max_length=12)
        assert "learn" not in generator.generate("x ", do_sample=False)

    @pytest.mark.parametrize("room", range(1, 9))
    def test_words_are_not_made_by_cutting_longer_ones_short(self, room):
        generator = says("learning", forbidden_words=["learn", "lear", "l"], max_length=room)
        generated = generator.generate("x ", do_sample=False)
        assert not any(has(word, generated) for word in ("learn", "lear", "l"))

    def test_phrases_are_found_over_any_space(self):
        text = says("a big\n  dog", forbidden_words=["big dog"], max_length=12).generate(
            "x ", do_sample=False
        )
        assert not re.search(r"big\s+dog\b", text)

    def test_accents_count_however_they_are_written(self):
        for spelling in ("caf\u00e9 ole", "cafe\u0301 ole"):
            text = says(spelling, forbidden_words=["CAF\u00c9"], max_length=12).generate(
                "x ", do_sample=False
            )
            assert not has("caf\u00e9", unicodedata.normalize("NFC", text))

    def test_a_word_that_begins_in_the_prompt_counts(self):
        assert (
            says("rn more", forbidden_words=["learn"], max_length=4).generate("I lea", do_sample=False)[:3]
            != "rn "
        )

    def test_a_word_of_the_new_text_counts_even_if_the_prompt_touches_it(self):
        text = says("learn it", forbidden_words=["learn"], max_length=8).generate("re", do_sample=False)
        assert not has("learn", text)

    def test_a_word_of_the_prompt_does_not_count(self):
        assert (
            says(" and live", forbidden_words=["learn"]).generate("I learn", do_sample=False) == " and live"
        )

    def test_every_way_on_forbidden_is_an_error(self):
        everything = [chr(byte) for byte in range(128) if chr(byte).strip()]
        generator = constrained(letters(), forbidden_words=everything, match="substring")
        generator.generate("x", max_length=3)  # spaces are left
        with pytest.raises(ConstraintError, match="at least one character"):
            constrained(letters(), forbidden_words=[" "])


class TestRequired:
    @pytest.mark.parametrize("options", STRATEGIES, ids=str)
    def test_words_all_appear_whatever_the_strategy(self, options):
        words = ["Fox", "red fox", "foxes", "Łódź"]
        generator = constrained(letters(), required_words=words, forbidden_words=["on", "a"], max_length=80)
        for completion in generator.complete("Tell: ", **options):
            assert all(has(word, completion.text) for word in words)
            assert not has("on", completion.text)
            assert not has("a", completion.text)

    def test_words_come_in_their_order_if_asked(self):
        words = ["sun", "moon", "sun", "star"]
        generator = constrained(letters(), required_words=words, ordered=True, max_length=60)
        for seed in range(5):
            text = generator.generate("x", seed=seed)
            assert re.search(r"\bsun\b.*\bmoon\b.*\bsun\b.*\bstar\b", text, re.IGNORECASE | re.DOTALL)

    def test_a_word_is_placed_where_the_model_says_it(self):
        text = "fox, not dog"
        assert says(text, required_words=["FOX"]).generate("x ", do_sample=False) == text

    def test_words_are_spread_over_the_text(self):
        generator = constrained(letters(), required_words=["zebra", "quartz"], max_length=120)
        text = generator.generate("x ", do_sample=False)
        places = [match.start() for match in re.finditer(r"\b(zebra|quartz)\b", text)]
        assert len(places) == 2
        assert 0 < places[0] < places[1] - len("zebra ") < 80

    def test_the_text_does_not_end_before_they_are_said(self):
        assert has(
            "fox", says("The end.", required_words=["fox"], max_length=40).generate("x ", do_sample=False)
        )

    def test_the_tightest_budget_is_enough(self):
        generator = constrained(letters(), required_words=["red fox", "owl"])
        text = generator.generate("x", max_length=len(" red fox owl"), do_sample=False)
        assert sorted(text.lower().split()) == ["fox", "owl", "red"]

    def test_words_of_the_prompt_do_not_count(self):
        generator = says("no", required_words=["fox"], max_length=20)
        assert has("fox", generator.generate("The fox says ", do_sample=False))


class TestImpossible:
    def test_budgets_fail_at_once(self):
        generator = constrained(letters(), required_words=["elephant"], max_length=8)
        with pytest.raises(ConstraintError, match="'elephant' take at least 9 tokens, but only 8"):
            generator.generate("x")

    @pytest.mark.parametrize(
        ("required", "forbidden", "match"),
        [
            ("Learn", "learn", "word"),
            ("machine learning", "LEARNING", "word"),
            ("learning", "learn", "substring"),
        ],
    )
    def test_contradictions_fail_when_made(self, required, forbidden, match):
        with pytest.raises(
            ConstraintError, match=re.escape(f"{required!r} contains the forbidden {forbidden!r}")
        ):
            constrained(letters(), required_words=[required], forbidden_words=[forbidden], match=match)

    def test_a_window_that_ends_the_text_bounds_the_budget(self):
        engine = fake_engine(letters(), context_length=16)
        generator = ConstrainedGenerator(TextGenerator.from_engine(engine), required_words=["elephant"])
        with pytest.raises(ConstraintError, match="only 7"):
            generator.generate("0123456789", context_overflow="stop")

    def test_time_that_is_up_is_an_error(self):
        generator = constrained(letters(), required_words=["elephant"], max_length=60)
        with pytest.raises(ConstraintError, match=r"reason: time.*lacks 'elephant'"):
            generator.generate("x", max_time=1e-9)
        with pytest.raises(ConstraintError, match="lacks 'elephant'"):
            generator.generate("x", max_time=1e-9, do_sample=False, num_beams=2)

    def test_a_stop_string_that_cuts_a_word_is_an_error(self):
        generator = says("learning", forbidden_words=["learn"])
        with pytest.raises(ConstraintError, match="says the forbidden 'learn'"):
            generator.generate("x ", stop_strings="ing", do_sample=False)

    @pytest.mark.parametrize("prompt", ["I learn ", "x "])
    def test_a_stop_string_is_judged_by_the_new_text_alone(self, prompt):
        generator = says("a dog. No", forbidden_words=["learn"], required_words=["dog"])
        text = generator.generate(prompt, stop_strings=" No", return_full_text=True, do_sample=False)
        assert text == prompt + "a dog."
        lacking = says("a cow. No", required_words=["dog"])
        with pytest.raises(ConstraintError, match="lacks"):
            lacking.generate("A dog, ", stop_strings=".", return_full_text=True, do_sample=False)

    @pytest.mark.parametrize(
        "given",
        [
            {"required_words": "fox"},
            {"required_words": [1]},
            {"required_words": None},
            {"forbidden_words": ["\ud800"]},
            {"match": "part"},
            {"jason": {}},
        ],
    )
    def test_wrong_arguments_are_refused(self, given):
        with pytest.raises(ConfigError):
            constrained(letters(), **given)


class TestCalls:
    def test_streaming_gives_the_same_text(self):
        generator = constrained(letters(), required_words=["fox"], forbidden_words=["a"], max_length=50)
        assert "".join(generator.stream("x", seed=5)) == generator.generate("x", seed=5)

    def test_streaming_refuses_what_could_cut_a_text_already_shown(self):
        with pytest.raises(ConfigError, match="stop_strings"):
            constrained(letters(), required_words=["fox"]).stream("x", stop_strings="y")

    def test_a_batch_gives_each_prompt_its_own_text(self):
        generator = constrained(letters(), required_words=["fox", "owl"], max_length=50)
        prompts = ["one", "two", "three"]
        assert generator.generate_batch(prompts, seed=1) == [generator.generate(p, seed=1) for p in prompts]

    def test_the_constraint_has_the_last_word_over_other_rules(self):
        generator = says("xx", required_words=["aaaa", "aaaaaa"], max_length=30)
        text = generator.generate("x", no_repeat_ngram_size=2, do_sample=False)
        assert has("aaaa", text)
        assert has("aaaaaa", text)

    def test_a_generator_that_gives_several_texts_is_not_cut_to_one_in_silence(self):
        config = GenerationConfig(num_return_sequences=2)
        several = TextGenerator(fake_engine(scripted("text")), config=config)
        generator = ConstrainedGenerator(several, forbidden_words=["bad"])
        assert len(generator.complete("a")) == 2
        with pytest.raises(ConfigError, match="num_return_sequences=2"):
            generator.generate("a")

    def test_the_limit_is_of_new_tokens(self):
        generator = constrained(lambda ids: letters()(ids) - 99 * (np.arange(258) == EOS), max_length=9)
        assert len(generator.complete("x" * 20)[0].token_ids) == 9
        assert len(generator.complete("x" * 20, max_length=5)[0].token_ids) == 5
