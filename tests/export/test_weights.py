"""Weights are a model's own, all of them and no others: what a directory lacks is never made up."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_huggingface_source import save_model

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import load_source

LAST = "model.layers.1.mlp.down_proj.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def changed(tmp_path):
    """A model whose stored weights a function changes; returns its directory."""

    def change(edit, kind="llama", **options):
        save_model(tmp_path, kind, **options)
        weights = load_file(tmp_path / "model.safetensors")
        save_file(edit(weights), tmp_path / "model.safetensors", metadata={"format": "pt"})
        return tmp_path

    return change


def without(*names):
    return lambda weights: {name: w for name, w in weights.items() if name not in names}


def renamed(rename):
    return lambda weights: {rename(name): w for name, w in weights.items()}


def with_others(**others):
    return lambda weights: weights | {name.replace("__", "."): w for name, w in others.items()}


@pytest.mark.parametrize("name", [LAST, EMBEDDING, HEAD, "model.norm.weight"])
def test_a_missing_weight_is_refused_by_name(changed, name):
    with pytest.raises(ExportError, match=f"lacks weights of LlamaForCausalLM: {name}. Get the whole model"):
        load_source(changed(without(name)))


def test_a_tied_weight_is_missing_only_if_both_its_names_are(changed):
    directory = changed(without(EMBEDDING), tie_word_embeddings=True)
    with pytest.raises(ExportError, match=f"lacks weights of LlamaForCausalLM: .*{EMBEDDING}"):
        load_source(directory)


@pytest.mark.parametrize("prefix", ["base_model.model.", "module.", "_orig_mod."])
def test_weights_under_other_names_are_refused_with_both_names(changed, prefix):
    directory = changed(renamed(lambda name: prefix + name))
    with pytest.raises(
        ExportError, match=rf"under other names.*{prefix}lm_head\.weight.* instead of lm_head"
    ):
        load_source(directory)


def test_weights_that_the_model_does_not_have_are_refused_by_name(changed):
    directory = changed(with_others(v_head__summary__weight=torch.ones(1, 32)))
    with pytest.raises(ExportError, match=r"does not have: v_head\.summary\.weight\. "):
        load_source(directory)


def test_layers_that_the_configuration_lacks_are_counted(changed):
    def third_layer(weights):
        return weights | {n.replace(".1.", ".2."): w.clone() for n, w in weights.items() if ".layers.1." in n}

    with pytest.raises(
        ExportError, match=r"weights of 3 layers, but .*/config\.json says 2\. Use the configuration"
    ):
        load_source(changed(third_layer))


def test_misshapen_weights_are_refused_with_both_shapes(changed):
    directory = changed(lambda weights: weights | {LAST: weights[LAST][:-1].clone()})
    with pytest.raises(ExportError, match=rf"{LAST} has shape \[31, 48\] instead of \[32, 48\]"):
        load_source(directory)


def test_a_long_list_of_names_is_cut(changed):
    with pytest.raises(ExportError, match=r"and 15 more") as error:
        load_source(changed(renamed(lambda name: name.replace("model.", "other."))))
    assert len(str(error.value)) < 800


@pytest.mark.parametrize("name", ["x\x1b[2J.weight", "x\u202e"])
def test_control_characters_of_a_name_reach_nobody(changed, name):
    with pytest.raises(ExportError) as error:
        load_source(changed(with_others(**{name: torch.ones(1)})))
    assert str(error.value).isprintable()


BUFFERS = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": ("llama", {}),
    "model.layers.0.self_attn.rotary_emb.cos_cached": ("llama", {}),
    "transformer.h.0.attn.masked_bias": ("gpt2", {"n_inner": 48}),
    "transformer.h.0.attn.bias": ("gpt2", {"n_inner": 48}),
    "gpt_neox.layers.0.attention.masked_bias": ("gpt_neox", {"head_dim": 8}),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_that_the_model_makes_itself_are_no_surplus(changed, name):
    kind, options = BUFFERS[name]
    load_source(changed(lambda weights: weights | {name: torch.ones(2)}, kind, **options))


def test_weights_without_the_prefix_of_their_model_are_its_own(changed):
    """The original GPT-2 is stored so; transformers knows them for the same."""
    ids = torch.tensor([[5, 6, 7]])
    expected = load_source(changed(lambda w: w, "gpt2", n_inner=48)).network.reference(ids)
    short = changed(renamed(lambda name: name.removeprefix("transformer.")), "gpt2", n_inner=48)
    assert torch.equal(load_source(short).network.reference(ids), expected)


def test_a_head_equal_to_the_embedding_it_is_tied_to_is_no_surplus(changed):
    directory = changed(lambda w: w | {HEAD: w[EMBEDDING].clone()}, tie_word_embeddings=True)
    network = load_source(directory).network
    assert network.model.get_output_embeddings().weight is network.model.get_input_embeddings().weight


def test_either_name_of_a_tied_weight_will_do(changed):
    directory = changed(renamed(lambda n: HEAD if n == EMBEDDING else n), tie_word_embeddings=True)
    head = load_file(directory / "model.safetensors")[HEAD]
    assert torch.equal(load_source(directory).network.model.get_input_embeddings().weight, head)


def test_a_head_that_differs_from_what_it_is_tied_to_is_refused(changed):
    directory = changed(lambda w: w | {HEAD: w[EMBEDDING] + 1}, tie_word_embeddings=True)
    with pytest.raises(
        ExportError, match=r"lm_head\.weight.*model\.embed_tokens\.weight.*tie_word_embeddings"
    ):
        load_source(directory)


def test_an_adapter_beside_the_weights_is_refused_with_what_to_do(changed):
    directory = changed(lambda w: w)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(ExportError, match=r"adapter beside.*Move adapter_config\.json.*--adapter"):
        load_source(directory)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.complex64, torch.bool])
def test_weights_of_other_types_than_floating_point_are_refused(changed, dtype):
    directory = changed(lambda weights: weights | {LAST: weights[LAST].to(dtype)})
    with pytest.raises(ExportError, match=rf"stores {LAST} as \w+"):
        load_source(directory)


def test_a_weight_stored_twice_is_refused(changed):
    directory = changed(lambda weights: weights)
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    for shard in ("1", "2"):
        save_file(weights if shard == "1" else {LAST: -weights[LAST]}, directory / f"{shard}.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "1.safetensors") | {HEAD: "2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match=rf"{LAST} .*twice"):
        load_source(directory)


def test_a_missing_expert_is_refused_by_name(changed):
    """Experts are stored one by one and computed as one tensor."""
    name = "model.layers.1.mlp.experts.1.down_proj.weight"
    experts = {
        "num_local_experts": 2,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
    }
    with pytest.raises(ExportError, match=r"model\.layers\.1\.mlp\.experts"):
        load_source(changed(without(name), "qwen3_moe", **experts))
