"""A bundle for CUDA through everything of the runtime but the card: its graph on memory reached by addresses."""

from dataclasses import replace

import numpy as np
import pytest

from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.loading import load_engine
from llmbuilder.engine.model import Model
from llmbuilder.generator import TextGenerator
from llmbuilder_export import export_model

PROMPTS = ["Once upon a time", "The king", "A", "She said that nothing of all this had"]


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    output = tmp_path_factory.mktemp("bundles") / "cuda"
    return export_model(checkpoint, output=output, device="cuda", progress=lambda _: None).path


@pytest.fixture(scope="module")
def host(bundle):
    """The bundle on the CPU, as whoever asks for that gets it."""
    return TextGenerator(bundle, device="cpu", threads=1)


@pytest.fixture(scope="module")
def device(bundle):
    """The same as on a card."""
    engine = load_engine(bundle, device="cpu", threads=1)
    session, facts = engine.model.session, engine.model.facts
    model = Model(session, facts, cache_type="float16", place=Place("cpu"), where=bundle)
    return TextGenerator.from_engine(replace(engine, model=model))


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"seed": 3},
        {"seed": 3, "top_k": 0, "top_p": 0.8},
        {"seed": 1, "top_k": 5, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
        {"do_sample": False, "num_beams": 3},
        {"seed": 2, "num_beams": 2, "top_k": 10},
        {"do_sample": False, "logprobs": 2},
    ],
    ids=str,
)
def test_texts_are_those_of_the_same_graph_in_the_process(device, host, options):
    options = {"max_new_tokens": 24, "early_stopping": False, **options}
    ours, theirs = (
        [each.token_ids for answer in generator.complete_batch(PROMPTS, **options) for each in answer]
        for generator in (device, host)
    )
    assert ours == theirs


def test_samples_of_one_prompt_share_its_computation(device, host):
    options = {"num_return_sequences": 5, "seed": 4, "max_new_tokens": 12}
    ours, theirs = (
        [each.text for each in generator.complete_batch(PROMPTS[:1], **options)[0]]
        for generator in (device, host)
    )
    assert ours == theirs


def test_a_text_longer_than_the_window_slides_on(device, host):
    window = host.engine.context_length
    options = {
        "do_sample": False,
        "early_stopping": False,
        "max_new_tokens": window + 20,
        "context_overflow": "slide",
    }
    assert device.generate(PROMPTS[0], **options) == host.generate(PROMPTS[0], **options)


def test_logits_are_equal_bit_for_bit(device, host):
    ids = host.tokenizer.encode(PROMPTS[3])[:20]
    ours, theirs = (generator.engine.model.decoder() for generator in (device, host))
    assert np.array_equal(ours.prefill(0, ids, keep=len(ids)), theirs.prefill(0, ids, keep=len(ids)))
    for token in ids:
        assert np.array_equal(np.array(ours.step([token])), np.array(theirs.step([token])))
