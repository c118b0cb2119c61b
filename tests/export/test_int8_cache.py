"""A KV cache in int8: what it computes, and that nothing exact becomes inexact with it."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graph_readers import difference
from small_models import gpt_state, model_config

from llmbuilder import TextGenerator
from llmbuilder.bundle.manifest import GRAPH_NAME
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.loading import load_engine
from llmbuilder.engine.model import Model
from llmbuilder.errors import BundleError, ExportError
from llmbuilder.verify import verify_bundle
from llmbuilder_export import export_model
from llmbuilder_export.cache import refuse_unfit

WINDOW = 700
IDS = np.random.default_rng(3).integers(4, 320, WINDOW).tolist()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, sentencepiece_file):
    """A small model with a window of more tokens than a chunk has, its cache in int8."""
    folder = tmp_path_factory.mktemp("int8-cache")
    shutil.copy(sentencepiece_file, folder / "tokenizer.model")
    content = {
        "model_state_dict": gpt_state(window=WINDOW),
        "model_config": model_config(max_seq_length=WINDOW),
        "model_type": "gpt",
    }
    torch.save(content, folder / "model.pt")
    export_model(
        folder / "model.pt",
        output=folder / "bundle",
        quantization="none",
        kv_cache="int8",
        progress=lambda _: None,
    )
    return folder / "bundle"


@pytest.fixture(scope="module")
def model(bundle):
    return load_engine(bundle).model


@pytest.fixture(scope="module")
def whole(model):
    """Logits of what follows 600 tokens, computed as one text."""
    return model.decoder(capacity=WINDOW).prefill(0, IDS[:600])


def test_the_manifest_and_the_cache_say_int8(bundle, model):
    assert open_bundle(bundle).manifest.kv_cache == "int8"
    assert {tensor.dtype for tensor in model.layout} == {np.dtype(np.int8)}
    layers = model.facts.layers
    assert model.bytes_per_token == sum(layer.heads * (layer.key_size + layer.value_size) for layer in layers)


def test_the_graph_is_read_as_onnx_reads_it(bundle):
    assert difference((bundle / GRAPH_NAME).read_bytes()) is None


def test_what_was_measured_is_that_of_a_quantized_model(bundle):
    measured = open_bundle(bundle).manifest.verification
    assert 1e-6 < measured["mean_kl_divergence"] < 0.05


def test_the_bundle_is_found_whole_and_exact_by_verify(bundle):
    report = verify_bundle(bundle)
    assert report.passed, report


@pytest.mark.parametrize("cut", [2, 150, 512, 513, 598])
def test_a_text_may_be_cut_anywhere(model, whole, cut):
    decoder = model.decoder(capacity=WINDOW)
    decoder.prefill(0, IDS[:cut])
    np.testing.assert_array_equal(decoder.prefill(0, IDS[cut:600]), whole)


def test_a_kept_beginning_gives_the_bits_of_the_whole(model, whole):
    decoder = model.decoder(rows=2, capacity=WINDOW)
    decoder.prefill(0, [*IDS[:400], 5, 6, 7])
    saved = decoder.save(0)
    decoder.load(1, saved, 400)
    np.testing.assert_array_equal(decoder.prefill(1, IDS[400:600]), whole)
    assert {part.dtype for part in saved} == {np.dtype(np.int8)}


def test_a_chunk_between_steps_changes_neither(model, whole):
    decoder = model.decoder(rows=2, capacity=WINDOW)
    decoder.prefill(0, IDS[:50])
    alone = model.decoder(capacity=WINDOW)
    alone.prefill(0, IDS[:50])
    for start in range(0, 600, 200):
        logits = decoder.prefill(1, IDS[start : start + 200])
        np.testing.assert_array_equal(decoder.step([9]), alone.step([9]))
    np.testing.assert_array_equal(logits, whole)


def test_a_row_goes_on_from_a_copy_and_after_truncation(model):
    decoder = model.decoder(rows=2, capacity=WINDOW)
    decoder.prefill(0, IDS[:300])
    decoder.copy(0, 1)
    first = np.array(decoder.step([7, 8]))
    decoder.truncate(0, 300)
    np.testing.assert_array_equal(decoder.step([8])[0], first[1])


@pytest.mark.parametrize("rows", [2, 7, 8, 33])
def test_short_rows_beside_long_ones_equal_the_row_alone(model, rows):
    lengths = [(3, 40, 690, 512)[row % 4] for row in range(rows)]
    decoder = model.decoder(rows=rows)
    for row, length in enumerate(lengths):
        decoder.prefill(row, IDS[row : row + length])
    together = [np.array(decoder.step([5] * rows)) for _ in range(3)]
    for row, length in list(enumerate(lengths))[:8]:
        alone = model.decoder()
        alone.prefill(0, IDS[row : row + length])
        for step in together:
            np.testing.assert_array_equal(alone.step([5])[0], step[row])


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False, "num_beams": 3},
        {"do_sample": False, "use_cache": False, "max_new_tokens": 6},
        {"do_sample": False, "prompt_lookup_num_tokens": 4},
        {"num_return_sequences": 3, "seed": 1},
    ],
    ids=["beams", "no cache", "prompt lookup", "several samples"],
)
def test_every_way_of_decoding_works(bundle, options):
    prompt = IDS[:5] * 4
    with TextGenerator(bundle) as generator:
        first, again = (
            generator.complete(prompt, {"max_new_tokens": 12, "early_stopping": False, **options})
            for _ in range(2)
        )
    assert [each.token_ids for each in first] == [each.token_ids for each in again]
    assert all(each.token_ids for each in first)


def test_a_full_window_slides(bundle):
    with TextGenerator(bundle) as generator:
        options = {"do_sample": False, "max_new_tokens": 12, "early_stopping": False}
        (completion,) = generator.complete(IDS[:695], options)
        keep = WINDOW - WINDOW // 4
        text = [*IDS[:695], *completion.token_ids]
        begun_anew = text[WINDOW + 1 - keep : WINDOW + 1]
        (follows,) = generator.complete(begun_anew, options | {"max_new_tokens": 1})
    assert len(completion.token_ids) == 12
    assert follows.token_ids[0] == completion.token_ids[6]


def test_a_budget_in_bytes_holds_four_times_the_tokens(bundle):
    model = load_engine(bundle, cache_bytes=1 << 20).model
    assert model.decoder().budget == (1 << 20) // model.bytes_per_token


def test_a_manifest_that_says_float32_is_refused(bundle):
    manifest = replace(open_bundle(bundle).manifest, kv_cache="float32")
    with pytest.raises(BundleError, match=r"in int8, its manifest says float32"):
        Model.open(bundle, manifest)


def test_models_whose_keys_hold_positions_are_refused_by_name():
    biased = SimpleNamespace(keys_hold_positions=True, facts=SimpleNamespace(architecture="bloom"))
    with pytest.raises(
        ExportError, match="bloom cannot have a KV cache in int8: its keys hold the linear biases"
    ):
        refuse_unfit(biased)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_cache": "int8", "device": "cuda"}, "is for cpu"),
        ({"kv_cache": "int4"}, "must be one of float32, int8"),
    ],
)
def test_what_cannot_be_had_is_refused_before_any_work(checkpoint, options, message):
    with pytest.raises(ExportError, match=message):
        export_model(checkpoint, **options)
