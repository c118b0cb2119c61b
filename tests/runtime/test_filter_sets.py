"""Profanity and facts on sixty labelled texts each, written before the filters, hard ones among them."""

import json
from pathlib import Path

import pytest

from llmbuilder.filtering.facts import find_errors
from llmbuilder.filtering.profanity import mask_profanity

DATA = Path(__file__).parent / "data"


def labelled(name):
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def rates(found, wanted):
    """Precision and recall."""
    right = sum(f and w for f, w in zip(found, wanted, strict=True))
    return right / sum(found), right / sum(wanted)


def test_profanity_is_found_and_innocent_words_stay(record_proof):
    texts = labelled("profanity.jsonl")
    found = [bool(mask_profanity(each["text"]).words) for each in texts]
    precision, recall = rates(found, [each["profane"] for each in texts])
    record_proof("profanity", n=len(texts), precision=precision, recall=recall)
    assert len(texts) == 60
    assert precision >= 0.9
    assert recall >= 0.7


def test_errors_of_fact_are_found_and_innocent_texts_pass(record_proof):
    texts = labelled("facts.jsonl")
    found = [bool(find_errors(each["text"], each.get("prompt"))) for each in texts]
    precision, recall = rates(found, [each["wrong"] for each in texts])
    record_proof("factuality", n=len(texts), precision=precision, recall=recall)
    assert len(texts) == 60
    assert precision >= 0.9
    assert recall >= 0.7


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Oh shit.", "Oh ****."),
        ("f u c k you", "* * * * you"),
        ("sh1t and f*ck", "**** and ****"),
        ("fuck fuck", "**** ****"),
        ("classic cocktail assassin", "classic cocktail assassin"),
        ("", ""),
    ],
)
def test_masks_keep_length_and_spaces(text, masked):
    assert mask_profanity(text).text == masked


def test_ordinary_prose_is_not_blotted_out():
    text = "He was tied up. The white whale Moby Dick sucks in the sea; the cock crows, the hoe lies by the butt."
    assert mask_profanity(text).words == ()
