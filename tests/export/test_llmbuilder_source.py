"""LLMBuilder checkpoints: every form upstream writes, and what is refused."""

import json

import pytest
import torch
from small_models import HEADS, LAYERS, VOCABULARY, WIDTH, WINDOW, gpt_state, model_config

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import load_source

FORMS = {
    "2.0.0 save_model": lambda: {
        "model_state_dict": gpt_state(),
        "model_config": model_config(),
        "metadata": {},
    },
    "2.0.0 trainer": lambda: {
        "model_state_dict": gpt_state(),
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]},
        "config": {"batch_size": 8, "learning_rate": 1e-3},
        "model_config": model_config(),
        "metrics_history": [{"loss": 1.0}],
    },
    "2.0.0 checkpoint manager": lambda: {
        "model_state_dict": gpt_state(),
        "metadata": {"epoch": 1, "config": model_config()},
    },
    "1.0.3 trainer": lambda: {
        "model_state_dict": gpt_state(),
        "config": {"model": model_config(), "training": {"batch_size": 8}},
    },
    "1.0.3 short names": lambda: {
        "model_state_dict": gpt_state(),
        "config": {"model": {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": WINDOW}},
    },
    "1.0.3 pruned": lambda: {"model": gpt_state(), "config": {"model": model_config()}},
    "compiled": lambda: {
        "model_state_dict": {f"_orig_mod.{name}": weight for name, weight in gpt_state().items()},
        "model_config": model_config(),
    },
    "half precision": lambda: {
        "model_state_dict": {name: weight.half() for name, weight in gpt_state().items()},
        "model_config": model_config(),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_reads_every_form_of_checkpoint(saved, form):
    facts = load_source(saved(FORMS[form]())).network.facts
    assert (facts.vocab_size, facts.num_layers, facts.num_attention_heads) == (VOCABULARY, LAYERS, HEADS)
    assert (facts.hidden_size, facts.context_length, facts.layers[0].key_size) == (
        WIDTH,
        WINDOW,
        WIDTH // HEADS,
    )


def test_computes_what_the_weights_say(saved):
    """The whole forward pass, spelled out for one token: attention over a single token is its value."""
    state = gpt_state()
    network = load_source(saved({"model_state_dict": state, "model_config": model_config()})).network
    norm = torch.nn.functional.layer_norm
    linear = torch.nn.functional.linear
    x = state["token_embedding.weight"][7] + state["position_embedding.weight"][0]
    for layer in range(LAYERS):
        w = {name.removeprefix(f"blocks.{layer}."): weight for name, weight in state.items()}
        value = linear(norm(x, (WIDTH,), w["ln1.weight"], w["ln1.bias"]), w["attn.qkv_proj.weight"])[
            2 * WIDTH :
        ]
        x = x + linear(value, w["attn.out_proj.weight"], w["attn.out_proj.bias"])
        inner = linear(
            norm(x, (WIDTH,), w["ln2.weight"], w["ln2.bias"]), w["mlp.fc1.weight"], w["mlp.fc1.bias"]
        )
        x = x + linear(torch.nn.functional.gelu(inner), w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    expected = linear(
        norm(x, (WIDTH,), state["ln_f.weight"], state["ln_f.bias"]), state["token_embedding.weight"]
    )
    torch.testing.assert_close(network.reference(torch.tensor([[7]]))[0, 0], expected)


def test_an_untied_head_keeps_its_own_weights(saved):
    state = gpt_state()
    state["lm_head.weight"] = state["lm_head.weight"] * 2
    ids = torch.tensor([[1, 2, 3]])
    tied = load_source(saved({"model_state_dict": gpt_state(), "model_config": model_config()}))
    expected = 2 * tied.network.reference(ids)
    untied = load_source(saved({"model_state_dict": state, "model_config": model_config()}))
    torch.testing.assert_close(untied.network.reference(ids), expected)


def test_a_shorter_window_can_be_asked_for(saved):
    source = load_source(
        saved({"model_state_dict": gpt_state(), "model_config": model_config()}), max_context=16
    )
    assert source.network.facts.context_length == 16


def test_lora_layers_are_merged(saved):
    state = gpt_state()
    name = "blocks.0.attn.qkv_proj"
    down, up = torch.randn(2, WIDTH), torch.randn(3 * WIDTH, 2)
    expected = state[f"{name}.weight"] + up @ down * (32.0 / 2)
    state[f"{name}.original_layer.weight"] = state.pop(f"{name}.weight")
    state |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    content = {
        "model_state_dict": state,
        "model_config": model_config(),
        "fine_tuning_config": {"lora_alpha": 32.0},
    }
    network = load_source(saved(content)).network
    torch.testing.assert_close(network.state_dict()[f"{name}.weight"], expected)
    with pytest.raises(ExportError, match="lora_alpha"):
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))


@pytest.mark.parametrize("up", [None, torch.ones(3 * WIDTH, 5), torch.ones(4)])
def test_half_a_lora_layer_is_refused(saved, up):
    state = gpt_state()
    name = "blocks.0.attn.qkv_proj"
    state[f"{name}.lora_A.weight"] = torch.ones(2, WIDTH)
    if up is not None:
        state[f"{name}.lora_B.weight"] = up
    content = {"model_state_dict": state, "model_config": model_config(), "config": {"lora_alpha": 2.0}}
    with pytest.raises(ExportError, match=f"LoRA layer, {name}, without"):
        load_source(saved(content))


def test_a_lora_layer_without_its_first_half_is_refused(saved):
    """It would be left out, and the rest of the layers merged."""
    state = gpt_state()
    for layer, halves in enumerate((("A", "B"), ("B",))):
        shapes = {"A": (2, WIDTH), "B": (3 * WIDTH, 2)}
        name = f"blocks.{layer}.attn.qkv_proj"
        state |= {f"{name}.lora_{half}.weight": torch.ones(shapes[half]) for half in halves}
    content = {"model_state_dict": state, "model_config": model_config(), "config": {"lora_alpha": 2.0}}
    with pytest.raises(ExportError, match=r"LoRA layer, blocks\.1\.attn\.qkv_proj, without"):
        load_source(saved(content))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_weight_under_two_names_is_refused(saved, prefix):
    state = gpt_state() | {f"{prefix}ln_f.bias": torch.zeros(WIDTH)}
    with pytest.raises(ExportError, match=r"holds ln_f\.bias twice"):
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_other_types_than_floating_point_are_refused(saved, dtype):
    state = gpt_state()
    state["ln_f.bias"] = state["ln_f.bias"].to(dtype)
    with pytest.raises(ExportError, match=r"stores ln_f\.bias as|complex numbers|unusual type"):
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))


def test_fine_tuning_checkpoints_need_the_number_of_heads(saved, tmp_path):
    path = saved({"model_state_dict": gpt_state(), "config": {"learning_rate": 1e-5, "lora_alpha": 32.0}})
    with pytest.raises(ExportError, match=r"--config FILE.*num_heads"):
        load_source(path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"num_heads": 2}))
    assert load_source(path, config).network.facts.num_attention_heads == 2


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_config_file_that_is_none_is_refused(saved, tmp_path, content):
    config = tmp_path / "config.json"
    config.write_text(content)
    with pytest.raises(ExportError, match=r"config\.json"):
        load_source(saved({"model_state_dict": gpt_state()}), config)


def test_every_missing_unknown_and_misshapen_weight_is_named(saved):
    state = gpt_state()
    del state["ln_f.bias"], state["blocks.1.mlp.fc1.weight"]
    state["blocks.0.ln1.weight"] = torch.ones(WIDTH + 1)
    state["blocks.0.gate.weight"] = torch.ones(2)
    with pytest.raises(ExportError) as error:
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))
    for expected in (
        "blocks.1.mlp.fc1.weight",
        "ln_f.bias",
        "blocks.0.ln1.weight has shape [33] instead of [32]",
        "gate",
    ):
        assert expected in str(error.value)


def test_a_layer_missing_in_the_middle_is_named(saved):
    state = {name.replace("blocks.1.", "blocks.2."): weight for name, weight in gpt_state().items()}
    with pytest.raises(ExportError, match=r"missing blocks\.1\.ln1\.weight"):
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))


@pytest.mark.parametrize("layer", [10**9, 10**30])
def test_as_many_layers_are_built_as_there_are_weights_for(saved, layer):
    """Whatever a name says: a small file must not cost memory."""
    state = gpt_state() | {f"blocks.{layer}.ln1.weight": torch.ones(WIDTH)}
    with pytest.raises(ExportError, match=rf"unknown blocks\.{layer}\.ln1\.weight"):
        load_source(saved({"model_state_dict": state, "model_config": {"num_heads": HEADS}}))


def test_a_weight_that_is_not_stored_whole_is_refused(saved):
    repeated = torch.zeros(1, dtype=torch.half).expand(10**9, 10**6)
    state = gpt_state() | {"token_embedding.weight": repeated}
    with pytest.raises(ExportError, match=r"does not store token_embedding\.weight whole"):
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_weights_of_a_diverged_training_are_refused(saved, number):
    state = gpt_state()
    state["blocks.1.mlp.fc1.bias"][3] = number
    with pytest.raises(
        ExportError, match=r"NaN or infinity in blocks\.1\.mlp\.fc1\.bias.*earlier checkpoint"
    ):
        load_source(saved({"model_state_dict": state, "model_config": model_config()}))


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("vocab_size", 99), ("embedding_dim", 64), ("max_seq_length", 1024), ("num_layers", 10**9)],
)
def test_a_configuration_that_contradicts_the_weights_is_refused(saved, option, wrong):
    with pytest.raises(ExportError, match=f"{option} is {wrong}"):
        load_source(saved({"model_state_dict": gpt_state(), "model_config": model_config(**{option: wrong})}))


def test_heads_must_divide_the_width(saved):
    with pytest.raises(ExportError, match="5 attention heads"):
        load_source(saved({"model_state_dict": gpt_state(), "model_config": model_config(num_heads=5)}))
