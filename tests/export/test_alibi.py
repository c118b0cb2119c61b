"""Linear biases as dimensions of keys: what they add is what transformers adds, far from the beginning too."""

import families
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmbuilder_export.networks.adapt import AdaptedNetwork
from llmbuilder_export.networks.attention import causal_attention

LENGTH = 700
"""More than 256, from where on Falcon's positions are rounded."""


@pytest.mark.parametrize("name", ["bloom", "falcon+biases", "mpt"])
def test_scores_far_from_the_beginning_are_transformers(name, monkeypatch):
    monkeypatch.setattr(families, "_SIZES", families._SIZES | {"max_seq_len": LENGTH})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(families.configure(name)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    network = AdaptedNetwork(model, LENGTH)
    assert network.keys_hold_positions  # so that nobody keeps them in 8 bits
    ids = torch.randint(3, 300, (1, LENGTH))
    monkeypatch.setattr("llmbuilder_export.networks.adapt.positions_from", lambda x, _: x)
    with torch.inference_mode():
        ours = network(ids, torch.arange(LENGTH)[None], causal_attention, torch.tensor([-LENGTH]))
        theirs = network.reference(ids)
    assert torch.allclose(ours, theirs, atol=1e-4)
