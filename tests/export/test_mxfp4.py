"""gpt-oss as it is published, its experts in MXFP4: each number is what its codes stand for; nothing is rounded."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_huggingface_source import save_model

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import load_source

SIZES = {"hidden_size": 64, "intermediate_size": 32, "num_local_experts": 2, "num_experts_per_tok": 1}
NUMBERS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
"""Of the codes 0 to 7 by the OCP Microscaling Formats specification; 8 to 15 are their negatives."""
BLOCK, BIAS = 32, 127


def packed(random, experts, outputs, inputs):
    """Codes and exponents of a weight as it is stored, and its numbers [experts, inputs, outputs]."""
    codes = random.integers(0, 16, (experts, outputs, inputs // BLOCK, BLOCK))
    exponents = random.integers(-6, 0, (experts, outputs, inputs // BLOCK))
    numbers = np.where(codes < 8, 1, -1) * NUMBERS[codes % 8] * np.exp2(exponents)[..., None]
    blocks = (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8)
    stored = torch.from_numpy(blocks), torch.from_numpy((exponents + BIAS).astype(np.uint8))
    return *stored, torch.from_numpy(numbers.reshape(experts, outputs, inputs).swapaxes(1, 2).copy()).float()


@pytest.fixture
def published(tmp_path):
    """A directory with experts in MXFP4, and the numbers that they stand for by their names."""
    save_model(tmp_path, "gpt_oss", **SIZES)
    weights, numbers = load_file(tmp_path / "model.safetensors"), {}
    random = np.random.default_rng(0)
    for layer in range(2):
        for name, outputs, inputs in (("gate_up_proj", 64, 64), ("down_proj", 64, 32)):
            whole = f"model.layers.{layer}.mlp.experts.{name}"
            del weights[whole]
            weights[f"{whole}_blocks"], weights[f"{whole}_scales"], numbers[whole] = packed(
                random, 2, outputs, inputs
            )
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    write(tmp_path, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    return tmp_path, numbers


def write(directory, **entries):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | entries))


def test_experts_are_the_numbers_that_their_codes_stand_for(published):
    directory, numbers = published
    network = load_source(directory).network
    loaded = dict(network.model.named_parameters())
    assert {weight.dtype for weight in loaded.values()} == {torch.float32}
    for name, expected in numbers.items():
        assert torch.equal(loaded[name], expected)


def test_codes_that_the_configuration_does_not_tell_of_are_refused(published):
    directory, _ = published
    write(directory, quantization_config=None)
    with pytest.raises(ExportError, match="_blocks as U8: only floating-point weights"):
        load_source(directory)


def test_other_whole_numbers_beside_them_are_refused(published):
    directory, _ = published
    weights = load_file(directory / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].to(torch.uint8)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"lm_head\.weight as U8"):
        load_source(directory)


def test_codes_without_their_exponents_are_refused(published):
    directory, _ = published
    weights = load_file(directory / "model.safetensors")
    weights.pop("model.layers.1.mlp.experts.down_proj_scales")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"does not store model\.layers\.1\.mlp\.experts\.down_proj whole"):
        load_source(directory)
