"""Constraints on SmolLM2: a byte-level vocabulary, whose tokens may be parts of characters."""

import json
import re

import pytest

from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.errors import ConstraintError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {
            "type": "array",
            "items": {"enum": ["tea", "naïve art", "日本"]},
            "minItems": 1,
            "maxItems": 3,
        },
        "home": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 10},
                "rent": {"type": "number", "maximum": 999},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def constrained(smollm2):
    bundle = smollm2("int8").bundle
    return lambda **constraint: ConstrainedGenerator(bundle, **constraint)


def test_words_of_several_tokens_and_scripts_are_said_whole(constrained, proving, record_proof):
    required, forbidden = ["日本", "Ελλάδα", "naïve artists"], ["the", "art", "naïv", "to"]
    seeds = range(20 if proving else 2)
    with constrained(required_words=required, forbidden_words=forbidden, max_length=50) as generator:
        for seed in seeds:
            text = generator.generate("My favourite countries are", seed=seed)
            found = [re.search(rf"(?<!\w){word}(?!\w)", text, re.IGNORECASE) for word in required + forbidden]
            assert all(found[:3]), text
            assert not any(found[3:]), text
    record_proof("words of several scripts met by SmolLM2", texts=len(seeds))


def test_json_is_whole_at_every_budget_or_refused(constrained, proving, record_proof):
    whole = refused = 0
    with constrained(json_schema=PERSON) as generator:
        for budget in range(10, 110, 2 if proving else 25):
            try:
                value = json.loads(generator.generate("A person as JSON:\n", max_length=budget, seed=budget))
            except ConstraintError:
                refused += 1
                continue
            whole += 1
            assert {"name", "age", "likes"} <= set(value) <= set(PERSON["properties"])
            assert set(value["likes"]) <= {"tea", "naïve art", "日本"}
    assert whole
    assert refused
    record_proof("JSON of SmolLM2 at budgets of 10 to 110 tokens", whole=whole, refused=refused)
