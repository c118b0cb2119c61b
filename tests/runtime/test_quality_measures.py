"""What the measures without a model make of texts, on a sample of the benchmark's passages."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from llmbuilder.quality.coherence import coherence, surplus
from llmbuilder.quality.fluency import fluency, share_in_order
from llmbuilder.quality.references import bleu, chrf, common_subsequence, rouge_l
from llmbuilder.quality.relevance import relevance
from llmbuilder.quality.text import sentences, stem, tokens, words
from llmbuilder.quality.variety import diversity, repeated_share, repetition

PASSAGES = Path(__file__).parents[2] / "benchmarks" / "data" / "passages.jsonl.gz"


@pytest.fixture(scope="module")
def passages():
    with gzip.open(PASSAGES, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["sentences"] for line in lines][::8]


def shuffled(items, seed=0):
    return [items[n] for n in np.random.default_rng(seed).permutation(len(items))]


def auc(real, damaged):
    return np.mean([a > b for a in real for b in damaged])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. Smith met J. Doe.\nHe left.", ["Mr. Smith met J. Doe.", "He left."]),
        ('"Go!" he said. "Now."', ['"Go!" he said.', '"Now."']),
        ("It cost 3.14 dollars. 7 were sold.", ["It cost 3.14 dollars.", "7 were sold."]),
        ("今日は。雨だ。", ["今日は。", "雨だ。"]),
        ("  \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert sentences(text) == expected


def test_words_keep_apostrophes_and_split_scripts_without_spaces():
    assert words("Don't stop, Łódź 東京!") == ["don't", "stop", "łódź", "東", "京"]
    assert tokens("Well, no.") == ["Well", ",", "no", "."]


@pytest.mark.parametrize(
    ("forms", "expected"), [(["walks", "walked", "walking"], "walk"), (["story's", "stories"], "story")]
)
def test_forms_of_a_word_have_one_stem(forms, expected):
    assert {stem(form) for form in forms} == {expected}


def test_coherence_tells_passages_from_their_shuffled_sentences(passages):
    real = [coherence(" ".join(p)) for p in passages]
    damaged = [coherence(" ".join(shuffled(p))) for p in passages]
    assert auc(real, damaged) >= 0.9
    assert np.mean([value >= 0.7 for value in real]) >= 0.9
    assert np.mean([value < 0.7 for value in damaged]) >= 0.8


@pytest.mark.parametrize("size", [40, 10])
@pytest.mark.parametrize("within", [False, True], ids=["whole", "within"])
def test_what_has_shuffled_words_is_not_coherent(passages, size, within):
    damaged = [" ".join(mixed(s) for s in (p[:size] if within else [" ".join(p[:size])])) for p in passages]
    assert np.mean([coherence(text) < 0.7 for text in damaged]) >= 0.9


def mixed(text):
    return " ".join(shuffled(text.split()))


def test_sentences_count_as_far_as_their_words_are_in_order(passages):
    for parts in passages:
        assert share_in_order(parts) > 0.9
        assert 0.2 < share_in_order([mixed(s) if n % 2 else s for n, s in enumerate(parts)]) < 0.8
        assert share_in_order([mixed(s) for s in parts]) < 0.5


def test_sentences_without_capitals_are_judged_too():
    assert coherence("we came home. it was cold! nobody said a word.") > 0.5
    assert math.isnan(coherence("we met Dr. Jones and Mr. Smith at home. it was cold."))


def test_coherence_of_two_sentences_cannot_be_judged():
    assert math.isnan(coherence("One sentence. And another."))
    assert not math.isnan(coherence("One sentence. And another. And a third."))


def test_sentences_that_are_all_alike_give_no_evidence():
    assert 0.5 < coherence("It rains. " * 6) < 0.75


def test_surplus_is_that_of_the_neighbours_over_all_pairs():
    odds = np.zeros((4, 4))
    odds[[0, 1, 2], [1, 2, 3]] = 1
    assert surplus(odds) == pytest.approx((1 - 0.25) / math.sqrt(0.25 * 0.75) * math.sqrt(3))


def test_fluency_tells_prose_from_shuffled_words_and_from_random_letters(passages):
    texts = [" ".join(p[:5]) for p in passages]
    real = [fluency(text) for text in texts]
    assert auc(real, [fluency(" ".join(shuffled(text.split()))) for text in texts]) >= 0.95
    assert (
        auc(real, [fluency(" ".join("".join(shuffled(list(w))) for w in t.split())) for t in texts]) >= 0.95
    )


def test_relevance_pairs_prompts_with_their_own_continuations(passages):
    own = [relevance(" ".join(p[5:15]), " ".join(p[:5])) for p in passages]
    others = [
        relevance(" ".join(q[5:15]), " ".join(p[:5]))
        for p, q in zip(passages, passages[1:] + passages[:1], strict=True)
    ]
    assert auc(own, others) >= 0.85


def test_repetition_counts_4_grams_that_have_occurred():
    assert repetition("one two three four five") == 0
    assert repetition("a b c d a b c d a b c d") == pytest.approx(1 - 4 / 9)
    assert repeated_share(["x"]) == 0


def test_diversity_is_the_share_of_different_words_in_a_window():
    assert diversity("red green blue") == 1
    assert diversity("so so so so") == 0.25
    halves = " ".join(f"w{n}" for n in range(50)) + " same" * 50
    assert 1 / 50 < diversity(halves) < 1


@pytest.mark.parametrize("measure", [coherence, fluency, diversity, repetition])
def test_an_empty_text_cannot_be_judged(measure):
    assert math.isnan(measure(" "))


@pytest.mark.parametrize(
    "text", ["\x00\x00", "🦊🦊 🦊", "1 2 3. 4 5! 6 7?", "ÀÉÎ. Õü. Ñ.", "a" * 5000, "' ' '"]
)
def test_odd_texts_stay_within_0_and_1(text):
    values = [coherence(text), fluency(text), diversity(text), repetition(text), relevance(text, text)]
    assert all(math.isnan(value) or 0 <= value <= 1 for value in values)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence():
    # Lin (2004), section 3.1: reference "police killed the gunman"
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    assert math.isnan(rouge_l("", "police"))


def test_common_subsequences_are_those_of_the_textbook_table():
    random = np.random.default_rng(0)
    for _ in range(50):
        a, b = (random.choice(list("abcd"), random.integers(1, 90)).tolist() for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
        assert common_subsequence(a, b) == table[-1, -1]


def test_bleu_and_chrf_are_those_of_sacrebleu_from_0_to_1():
    pytest.importorskip("sacrebleu")
    text = "The cat sat on the mat today."
    assert bleu(text, text) == pytest.approx(1)
    assert chrf(text, text) == pytest.approx(1)
    assert 0 < bleu("The cat sat on a rug today.", text) < 1
    assert 0 < chrf("The cat sat on a rug today.", text) < 1
