"""Checkpoints of nanoGPT: what is loaded computes what its model.py does."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

from llmbuilder.errors import ExportError
from llmbuilder_export import export_model
from llmbuilder_export.sources import load_source

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, "vocab_size": 320}


def state_of(*, bias):
    """Random weights under the names of nanoGPT, as ``torch.compile`` leaves them."""
    torch.manual_seed(0)
    width = SIZES["n_embd"]
    linears = {"attn.c_attn": (3 * width, width), "attn.c_proj": (width, width)}
    linears |= {"mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
    state = {"transformer.wte.weight": torch.randn(SIZES["vocab_size"], width) * 0.2}
    state["transformer.wpe.weight"] = torch.randn(SIZES["block_size"], width) * 0.2
    for layer in range(SIZES["n_layer"]):
        for name, shape in {**linears, "ln_1": (width,), "ln_2": (width,)}.items():
            state[f"transformer.h.{layer}.{name}.weight"] = torch.randn(shape) * 0.2
            if bias:
                state[f"transformer.h.{layer}.{name}.bias"] = torch.randn(shape[0]) * 0.2
    state["transformer.ln_f.weight"] = torch.randn(width)
    if bias:
        state["transformer.ln_f.bias"] = torch.randn(width)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return {f"_orig_mod.{name}": weight for name, weight in state.items()}


def computed(state, ids):
    """Logits [S, V] by the formulas of nanoGPT's model.py."""
    weights = {name.removeprefix("_orig_mod."): weight for name, weight in state.items()}
    heads, width = SIZES["n_head"], SIZES["n_embd"]

    def linear(x, name):
        return nn.functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(x, name):
        return layer_norm(x, (width,), weights[f"{name}.weight"], weights.get(f"{name}.bias"), 1e-5)

    x = weights["transformer.wte.weight"][ids] + weights["transformer.wpe.weight"][: len(ids)]
    future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    for layer in range(SIZES["n_layer"]):
        at = f"transformer.h.{layer}"
        q, k, v = (
            part.view(len(ids), heads, -1).transpose(0, 1)
            for part in linear(norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn").split(width, dim=1)
        )
        scores = (q @ k.transpose(1, 2) / math.sqrt(width // heads)).masked_fill(future, -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + linear(mixed, f"{at}.attn.c_proj")
        x = x + linear(gelu(linear(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc")), f"{at}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ weights["lm_head.weight"].T


def checkpoint(*, bias=True, **args):
    options = SIZES | {"bias": bias, "dropout": 0.0} | args
    return {"model": state_of(bias=bias), "model_args": options, "iter_num": 5, "config": {}}


@pytest.mark.parametrize("bias", [True, False])
def test_a_checkpoint_computes_what_nanogpt_does(bias, saved):
    content = checkpoint(bias=bias)
    ids = torch.randint(0, SIZES["vocab_size"], (20,))
    network = load_source(saved(content)).network
    with torch.inference_mode():
        assert torch.allclose(
            network.reference(ids[None])[0], computed(content["model"], ids), atol=1e-5, rtol=1e-4
        )


def test_a_checkpoint_becomes_a_bundle(saved, byte_bpe_file):
    report = export_model(
        saved(checkpoint()), byte_bpe_file, quantization="none", max_context=16, progress=lambda _: None
    )
    assert report.manifest.source.kind == "nanogpt"
    assert report.manifest.model.context_length == 16
    assert report.manifest.verification["max_logit_difference_steps"] < 1e-4


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"n_head": None}, "do not say n_head rightly"),
        ({"n_head": 5}, "do not say n_head rightly"),
        ({"n_layer": 1 << 40}, "says 1099511627776 layers"),
        ({"n_layer": 3}, r"transformer\.h\.2\.attn"),
        ({"n_embd": 64}, "belong to the weights|of another size"),
        ({"vocab_size": 1 << 40}, "belong to the weights"),
    ],
)
def test_sizes_that_are_not_those_of_the_weights_are_refused(args, reason, saved):
    with pytest.raises(ExportError, match=reason):
        load_source(saved(checkpoint(**args)))
