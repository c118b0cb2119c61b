"""Random constraints on the demo model; `benchmarks/constraints.py` has the study on SmolLM2."""

import random
import re
from pathlib import Path

import pytest

from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.constraints.words import WordRules
from llmbuilder.decoding.strategies import ConstrainedPrompt
from llmbuilder.generator import TextGenerator

DEMO = Path(__file__).resolve().parents[2] / "artifacts" / "storyteller" / "bundle"
REQUIRED = (
    "learn",
    "learning",
    "he",
    "hero",
    "red ball",
    "of the",
    "car",
    "careful",
    "xylophone",
    "sun",
    "sunny",
)
FORBIDDEN = (
    "the",
    "was",
    "a",
    "and",
    "to",
    "she",
    "her",
    "here",
    "cars",
    "care",
    "learned",
    "sunshine",
    "in",
    "red",
)


@pytest.fixture(scope="module")
def demo():
    with TextGenerator(DEMO) as generator:
        yield generator


def has(word, text):
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def random_options(draw, budget):
    kind = draw.choice(
        [{"seed": draw.randrange(1000)}, {"do_sample": False}, {"num_beams": 2, "do_sample": False}]
    )
    return {"max_new_tokens": budget, **kind}


def test_random_sets_of_words_are_met(demo, proving, record_proof):
    draw = random.Random(5)
    count = 300 if proving else 40
    vocabulary = Vocabulary(demo.tokenizer.pieces())
    sets, requests = [], []
    while len(sets) < count:
        required, forbidden = (
            draw.sample(REQUIRED, draw.randint(0, 3)),
            draw.sample(FORBIDDEN, draw.randint(1, 5)),
        )
        if any(has(banned, word) for banned in forbidden for word in required):
            continue
        rules = WordRules(vocabulary, demo.tokenizer.encode, required=required, forbidden=forbidden)
        budget = sum(rules.required.costs) + len(required) + draw.randint(4, 60)
        sets.append((required, forbidden))
        requests.append((ConstrainedPrompt("Once upon a time", rules.start), random_options(draw, budget)))
    for number, result in demo.complete_each(requests):
        assert isinstance(result, list), (sets[number], result)
        required, forbidden = sets[number]
        assert all(has(word, result[0].text) for word in required), (sets[number], result[0].text)
        assert not any(has(word, result[0].text) for word in forbidden), (sets[number], result[0].text)
    record_proof("random word constraints met by the demo model", sets=count)
