"""Hugging Face directories: tiny models of random weights, whole through export, and what is refused."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import families
import numpy as np
import onnx
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmbuilder.bundle.manifest import LayerCache, ModelFacts
from llmbuilder.config import GenerationConfig
from llmbuilder.engine.model import Model
from llmbuilder.errors import ExportError
from llmbuilder_export import export_model
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.huggingface import chat_template, check_facts, generation_defaults

LAYERS, WINDOW, VOCABULARY = 2, 96, 330
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": WINDOW,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def save_model(directory, kind, **options):
    """Write a model of ``kind`` with random weights large enough to matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**COMMON, **options}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(directory)
    return model.eval()


KINDS = {
    "gpt2": {"n_inner": 48},
    "mistral": {"sliding_window": 8},
    "llama": {"tie_word_embeddings": True},
    "qwen3": {},
}
SAMPLE = ("gpt2", "mistral")


def in_sample_or_proof(kind):
    return pytest.param(kind, marks=() if kind in SAMPLE else pytest.mark.prove)


@pytest.fixture(scope="module", params=map(in_sample_or_proof, KINDS))
def exported(request, tmp_path_factory, byte_bpe_file):
    """A kind of model with its bundle."""
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "LICENSE").write_text("Do what you like.")
    model = save_model(directory, request.param, **KINDS[request.param])
    output = directory.with_name(f"{directory.name}-onnx")
    report = export_model(directory, byte_bpe_file, output, quantization="none", progress=lambda _: None)
    return request.param, model, report


def test_the_license_comes_along_as_a_file_that_may_be_missing(exported):
    _, _, report = exported
    assert (report.path / "LICENSE").read_text() == "Do what you like."
    assert [name for name, entry in report.manifest.files.items() if entry.optional] == ["LICENSE"]


def test_each_layer_says_how_much_of_a_text_it_sees(exported):
    kind, _, report = exported
    assert {layer.window for layer in report.manifest.model.layers} == {8 if kind == "mistral" else None}


def test_the_bundle_computes_what_transformers_computes(exported):
    _, model, report = exported
    ids = np.random.default_rng(1).integers(0, VOCABULARY, WINDOW).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    decoder = Model.open(report.path, report.manifest).decoder()
    np.testing.assert_allclose(decoder.prefill(0, ids[:-4], keep=WINDOW - 4), expected[:-4], atol=1e-4)
    for position in range(WINDOW - 4, WINDOW):
        np.testing.assert_allclose(decoder.step([ids[position]])[0], expected[position], atol=1e-4)


def test_attention_is_one_operator_that_rotates_and_splits_by_itself(exported):
    kind, _, report = exported
    nodes = onnx.load(report.path / "model.onnx", load_external_data=False).graph.node
    operators = Counter(node.op_type for node in nodes)
    assert operators["GroupQueryAttention"] == LAYERS
    assert not {"RotaryEmbedding", "Softmax", "Sigmoid", "Pow", "Tanh", "Transpose"} & set(operators)
    if kind != "qwen3":  # its queries and keys are normed one by one
        packed = [node.input[1] == "" for node in nodes if node.op_type == "GroupQueryAttention"]
        assert packed == [True] * LAYERS


def test_facts_come_from_the_model_as_it_runs(exported):
    kind, _, report = exported
    facts = report.manifest.model
    assert (facts.architecture, facts.num_layers, facts.context_length) == (kind, LAYERS, WINDOW)
    heads = (facts.num_attention_heads, facts.layers[0].heads, facts.layers[0].key_size)
    assert heads == ((4, 4, 8) if kind == "gpt2" else (4, 2, 16))


def test_half_precision_weights_are_exported_in_float32(tmp_path):
    model = save_model(tmp_path, "llama")
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    network = load_source(tmp_path).network
    assert network.reference(torch.tensor([[1, 2]])).dtype == torch.float32


@pytest.mark.parametrize(("kind", "name"), [("bloom", "seq_length"), ("mpt", "max_seq_len")])
def test_families_without_positions_say_their_window_under_a_name_of_their_own(kind, name, tmp_path):
    save_model(tmp_path, kind, n_layer=1, n_layers=1, n_head=2, n_heads=2, d_model=32, **{name: 40})
    assert load_source(tmp_path).network.facts.context_length == 40
    assert load_source(tmp_path, max_context=32).network.facts.context_length == 32
    assert load_source(tmp_path, max_context=64).network.facts.context_length == 40


def test_a_window_ends_where_transformers_cache_forgets_what_attention_would_see(tmp_path):
    families.save_family("moshi", tmp_path)
    assert load_source(tmp_path).network.facts.context_length == 64
    families.save_family("mistral", tmp_path)  # whose attention has the cache's window
    assert load_source(tmp_path).network.facts.context_length == families.WINDOW


@pytest.mark.parametrize("window", [None, "long", 0, True])
def test_a_window_that_is_none_must_be_given(window, tmp_path):
    save_model(tmp_path, "bloom", n_layer=1, n_head=2, seq_length=window)
    with pytest.raises(ExportError, match="Pass --max-context"):
        load_source(tmp_path)


def test_scaled_positions_are_tabulated(tmp_path):
    scaling = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 48}
    save_model(tmp_path, "llama", rope_parameters=scaling)
    network = load_source(tmp_path).network
    assert network._rotary.tables.cos.shape == (WINDOW, 8)


def test_positions_that_depend_on_the_texts_length_limit_the_window(tmp_path):
    """LongRoPE rotates all positions otherwise once a text is longer than 48: a cache cannot follow."""
    factors = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "original_max_position_embeddings": 48}
    save_model(tmp_path, "llama", rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **factors})
    with pytest.raises(ExportError, match="--max-context 48"):
        load_source(tmp_path)
    assert load_source(tmp_path, max_context=48).network.facts.context_length == 48


def test_attention_that_bundles_cannot_express_is_refused(tmp_path):
    save_model(tmp_path, "openai-gpt", n_layer=LAYERS, n_head=4)
    with pytest.raises(ExportError, match="attention"):
        load_source(tmp_path, max_context=WINDOW)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"model_type": "no_such_model"}', "does not know"),
        ("{}", "cannot be loaded.*model_type"),
    ],
)
def test_a_directory_that_holds_no_model_is_refused(tmp_path, config, message):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ExportError, match=message):
        load_source(tmp_path)


def test_a_second_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ExportError, match=r"its own config\.json.*--config other\.json"):
        load_source(tmp_path, Path("other.json"))


def test_code_in_the_directory_is_not_run(tmp_path):
    target = tmp_path / "boom"
    (tmp_path / "modeling.py").write_text(f"open({str(target)!r}, 'w')\n")
    config = {
        "model_type": "mine",
        "auto_map": {"AutoModelForCausalLM": "modeling.M", "AutoConfig": "modeling.C"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="code of its own, which no export runs"):
        load_source(tmp_path)
    assert not target.exists()


def test_generation_defaults_are_the_options_we_have_and_accept(tmp_path):
    content = {
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": None,
        "do_sample": True,
        "num_beams": 0,
        "eos_token_id": [2, 3],
        "transformers_version": "5.0.0",
    }
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    assert generation_defaults(tmp_path) == {"temperature": 0.6, "top_p": 0.95, "do_sample": True}


LAYER = LayerCache(heads=4, key_size=8, value_size=8)
FACTS = ModelFacts(
    architecture="gpt2",
    vocab_size=9,
    context_length=8,
    hidden_size=8,
    num_attention_heads=4,
    parameters=1,
    layers=(LAYER,) * 2,
)


@pytest.mark.parametrize("wrong", [{"layers": (LAYER,) * 3}, {"num_attention_heads": 8}])
def test_what_is_seen_must_be_what_the_configuration_says(wrong):
    config = AutoConfig.for_model("gpt2", n_layer=2, n_head=4)
    check_facts(FACTS, config)
    with pytest.raises(ExportError, match=r"configuration says 2 and 4|attends in 3 of its 2 layers"):
        check_facts(replace(FACTS, **wrong), config)


def test_heads_of_a_configuration_that_optimum_cannot_read_are_not_compared():
    config = AutoConfig.for_model("gpt2", n_layer=2, n_head=4)
    config.model_type = "new"
    check_facts(replace(FACTS, num_attention_heads=8), config)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ({"do_sample": False, "num_return_sequences": 2}, {"do_sample": False}),
        ({"early_stopping": False}, {}),
        ({"early_stopping": False, "num_beams": 2}, {"early_stopping": False, "num_beams": 2}),
        (
            {"num_beam_groups": 2, "diversity_penalty": 0.5, "num_beams": 4, "do_sample": False},
            {"num_beam_groups": 2, "diversity_penalty": 0.5, "num_beams": 4, "do_sample": False},
        ),
        (
            {
                "diversity_penalty": 0.5,
                "do_sample": False,
                "num_beam_groups": 2,
                "num_beams": 4,
                "temperature": 0.0,
            },
            {"num_beam_groups": 2, "diversity_penalty": 0.5, "num_beams": 4, "do_sample": False},
        ),
        ({"num_beam_groups": 2, "top_k": 5}, {"top_k": 5}),
    ],
)
def test_generation_defaults_are_such_as_go_together(tmp_path, content, kept):
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    assert generation_defaults(tmp_path) == kept
    GenerationConfig(**kept)


def test_without_defaults_there_are_none(tmp_path):
    assert generation_defaults(tmp_path) == {}
    (tmp_path / "generation_config.json").write_text("[]")
    assert generation_defaults(tmp_path) == {}


def test_the_chat_template_is_a_file_or_part_of_the_tokenizers_configuration(tmp_path):
    assert chat_template(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(
        json.dumps(
            {"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}
        )
    )
    assert chat_template(tmp_path) == "D"
    config.write_text(json.dumps({"chat_template": "S"}))
    assert chat_template(tmp_path) == "S"
    (tmp_path / "chat_template.jinja").write_text("F")
    assert chat_template(tmp_path) == "F"
