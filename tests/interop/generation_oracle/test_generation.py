"""Whole generations of SmolLM2 in float32, token for token those of transformers 4.46.3."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from configurations import COMMON, Options, configurations, ours

from llmbuilder.config import GenerationConfig
from llmbuilder.generator import TextGenerator

ORACLE = json.loads(Path(__file__).with_name("fixtures.json").read_text(encoding="utf-8"))
CONFIGURATIONS = configurations()
NAMES = list(ORACLE["results"])
SAMPLE = NAMES[::10]


@pytest.fixture(scope="module")
def smollm2_generator(smollm2: Callable) -> Iterator[TextGenerator]:
    """SmolLM2 as exported without quantization."""
    with TextGenerator(smollm2("none").bundle) as generator:
        yield generator


def texts(generator: TextGenerator, prompt: list[int], options: Options) -> list[list[int]]:
    """New ids of every sequence. Where beams end with EOS transformers writes the first of the list: so is here."""
    config = GenerationConfig(**ours(options))
    eos_ids = (COMMON | options)["eos_token_id"]
    found = [list(completion.token_ids) for completion in generator.complete(prompt, config)]
    if config.num_beams > 1:
        found = [[*ids[:-1], eos_ids[0]] if ids[-1] in eos_ids else ids for ids in found]
    return found


def test_every_configuration_is_in_the_fixtures():
    assert set(NAMES) == set(CONFIGURATIONS)
    assert len(NAMES) >= 60
    assert all(len(results) == len(ORACLE["prompts"]) >= 5 for results in ORACLE["results"].values())


@pytest.mark.parametrize("name", SAMPLE)
def test_a_configuration_generates_what_transformers_does(smollm2_generator, name):
    number = SAMPLE.index(name) % len(ORACLE["prompts"])
    found = texts(smollm2_generator, ORACLE["prompts"][number], CONFIGURATIONS[name])
    assert found == ORACLE["results"][name][number]["ids"]


@pytest.mark.prove
def test_all_configurations_generate_what_transformers_does(smollm2_generator, record_proof):
    different = [
        {"configuration": name, "prompt": number, "ours": found, "transformers": expected}
        for name in NAMES
        for number, expected in enumerate(ORACLE["results"][name])
        if (found := texts(smollm2_generator, ORACLE["prompts"][number], CONFIGURATIONS[name]))
        != expected["ids"]
    ]
    record_proof(
        "SmolLM2 float32 against transformers 4.46.3, whole generations",
        configurations=len(NAMES),
        prompts=len(ORACLE["prompts"]),
        tokens_each=COMMON["max_new_tokens"],
        different=different,
    )
    assert different == []
