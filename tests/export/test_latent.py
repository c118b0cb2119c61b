"""Latent attention: keys are what transformers makes of latents, and no memory is written to for them."""

import families
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmbuilder_export.networks.latent import joined_keys


@pytest.mark.parametrize("name", ["deepseek_v2", "deepseek_v3", "minicpm3"])
def test_keys_and_values_of_latents_are_transformers(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(families.configure(name))
    module = model.model.layers[0].self_attn
    latents = torch.randn(2, 1, 5, module.kv_lora_rank), torch.randn(2, 1, 5, module.qk_rope_head_dim)
    with torch.inference_mode():
        theirs = module.expand_kv(*latents)
        with joined_keys(model):
            ours = module.expand_kv(*latents)
    assert all(map(torch.equal, ours, theirs))


def test_a_model_is_left_as_it_was():
    model = AutoModelForCausalLM.from_config(families.configure("deepseek_v3"))
    with joined_keys(model):
        assert "expand_kv" in vars(model.model.layers[0].self_attn)
    assert "expand_kv" not in vars(model.model.layers[0].self_attn)
