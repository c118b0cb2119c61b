"""`evaluate_generation`: one text or many, with references, prompts, and a model."""

import itertools
import math
import sys

import numpy as np
import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder.inference import evaluate_generation
from llmbuilder.quality.evaluate import Evaluation
from llmbuilder.quality.judge import Judge
from llmbuilder.testing import BYTE_VOCAB, fake_engine

TEXT = "The fox was red. It lived in the snow. The snow was deep."


def alphabetical(ids):
    """The model expects the byte after the last one, or a space."""
    logits = np.zeros(BYTE_VOCAB, np.float32)
    logits[[(ids[-1] + 1) % 256, ord(" ")]] = 6
    return logits


@pytest.fixture
def judge():
    return Judge(TextGenerator.from_engine(fake_engine(alphabetical, context_length=64)))


def test_a_text_gives_one_evaluation_and_a_list_gives_a_list():
    one = evaluate_generation(TEXT)
    assert isinstance(one, Evaluation)
    assert list(map(repr, evaluate_generation([TEXT, TEXT]))) == [repr(one)] * 2  # nan equals nothing
    assert evaluate_generation([]) == []


def test_what_there_is_nothing_to_judge_by_is_nan():
    found = evaluate_generation(TEXT)
    assert [math.isnan(v) for v in (found.relevance, found.bleu, found.chrf, found.rouge_l)] == [True] * 4
    assert all(0 <= v <= 1 for v in (found.coherence, found.fluency, found.diversity, found.repetition))
    assert 0 <= evaluate_generation(TEXT, prompt="A fox lived here.").relevance <= 1


def test_runaway_marks_are_evaluated_in_time_that_grows_with_the_text():
    found = evaluate_generation("?!." * 50_000, prompt="A. " * 50_000)  # minutes, if with its square
    assert math.isnan(found.coherence)


def test_one_prompt_serves_all_texts_and_a_list_has_one_for_each():
    shared = evaluate_generation([TEXT, "Go home."], prompt="A fox.")
    assert [e.relevance for e in shared] == [
        e.relevance for e in evaluate_generation([TEXT, "Go home."], prompt=["A fox."] * 2)
    ]
    with pytest.raises(ConfigError, match="prompt must have one entry for each of the 2 texts, got 1"):
        evaluate_generation([TEXT, TEXT], prompt=["A fox."])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "generated_text must be a list of texts, got None"),
        (([1],), "An entry of generated_text must be a text, got 1"),
        ((TEXT, None, 5), "prompt must be a text, or a list"),
        (([TEXT], None, [5]), "An entry of prompt must be a text, got 5"),
        (("ab \ud800 cd",), r"half a character, '\\ud800', at position 3"),
        ((TEXT, "\ud800"), "reference_text has half a character"),
    ],
)
def test_what_is_no_text_is_an_error(arguments, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_generation(*arguments)


def test_a_reference_adds_bleu_chrf_and_rouge():
    pytest.importorskip("sacrebleu")
    found = evaluate_generation(TEXT, TEXT)
    assert [found.bleu, found.chrf, found.rouge_l] == pytest.approx([1, 1, 1])


def test_without_sacrebleu_a_reference_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"pip install .sacrebleu>="):
        evaluate_generation(TEXT, TEXT)


def test_quality_is_the_mean_of_what_is_known():
    found = Evaluation(coherence=math.nan, fluency=0.8, relevance=math.nan, diversity=0.1, repetition=0.4)
    assert found.quality == pytest.approx((0.8 + 0.6) / 2)


def test_a_model_finds_what_it_expects_fluent(judge):
    assert judge.fluency("abcdefgh ijklmnop") > 0.7 > judge.fluency("hgbadcfe pnomlkji")
    assert math.isnan(judge.fluency("a"))


def test_a_text_longer_than_the_window_is_scored_whole(judge):
    expected = "abcdefghijklmnopqrstuvwxyz" * 8
    assert 0.6 < judge.fluency(expected) < 1
    assert len(judge._logprobs([ord("a")] * 207)) == 206


def test_a_model_that_expects_the_order_finds_it_coherent():
    parts = ["Aa.", "Bb.", "Cc.", "Dd.", "Ee.", "Ff."]
    following = {ord(a[0]): ord(b[0]) for a, b in itertools.pairwise(parts)}

    def rule(ids):
        logits = np.zeros(BYTE_VOCAB, np.float32)
        capital = next((i for i in reversed(ids) if i in following), None)
        if ids[-1] == ord(" ") and capital is not None:
            logits[following[capital]] = 12
        return logits

    judge = Judge(TextGenerator.from_engine(fake_engine(rule)))
    assert judge.order_gain(parts) > 0 > judge.order_gain(parts[::-1])
    assert judge.coherence(" ".join(parts)) > judge.coherence(" ".join(parts[::-1]))
    assert math.isnan(judge.coherence("Aa. Bb."))


def test_a_prompt_that_makes_a_text_likelier_is_relevant():
    def rule(ids):
        logits = np.zeros(BYTE_VOCAB, np.float32)
        logits[list(set(ids))] = 4
        return logits

    judge = Judge(TextGenerator.from_engine(fake_engine(rule)))
    assert judge.relevance("abcabc", "cab ") > judge.relevance("abcabc", "xyz ")
    assert math.isnan(judge.relevance("abc", ""))


def test_sentences_beyond_the_window_are_left_out(judge):
    assert judge._fitting(["x" * 30, "y" * 30, "z" * 30]) == ["x" * 30, "y" * 30]
