"""Configurations of absurd numbers are refused by name before anything is built."""

import json

import pytest
import torch
from test_huggingface_source import save_model

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import counts, load_source
from llmbuilder_export.sources.counts import few_parts


@pytest.fixture
def refused(tmp_path):
    """Load a tiny model whose configuration was changed, which is refused."""

    def load(message, kind="llama", options=None, **changes):
        save_model(tmp_path, kind, **(options or {}))
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        with pytest.raises(ExportError, match=message):
            load_source(tmp_path)

    return load


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llama", "num_hidden_layers"),
        ("llama", "num_attention_heads"),
        ("llama", "num_key_value_heads"),
        ("gemma2", "num_hidden_layers"),
        ("gpt2", "n_layer"),
        ("mixtral", "num_local_experts"),
        ("qwen2_moe", "num_experts"),
        ("hrm_text", "H_cycles"),
        ("hrm_text", "num_layers_per_stack"),
    ],
)
def test_more_layers_experts_or_heads_than_any_model_has_are_refused_by_name(refused, kind, name):
    refused(rf"config\.json says {name} 1000000000, more than the 10,000 that", kind, **{name: 10**9})


def test_numbers_in_a_configuration_within_another_are_looked_at_too(refused):
    refused(r"says text_config\.num_experts 10000000, more", text_config={"num_experts": 10**7})


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "intermediate_size", "head_dim"])
def test_sizes_that_the_weights_do_not_have_are_refused_before_they_take_memory(refused, name):
    refused(r"config\.json does not belong to the weights|cannot be loaded", **{name: 1 << 24})
    refused(rf"config\.json says {name} 1000000000, more than the 16,777,216 that", **{name: 10**9})


def test_a_window_whose_positions_would_fill_the_memory_needs_a_shorter_one(refused, tmp_path):
    refused(
        r"config\.json says a window of 1,000,000,000 tokens, more than .*Pass --max-context",
        max_position_embeddings=10**9,
    )
    assert load_source(tmp_path, max_context=32).network.facts.context_length == 32


def test_heads_of_no_size_are_refused(refused):
    refused("mpt has heads of no size. Correct", "mpt", n_heads=1000)


def build(parts):
    made = torch.nn.ModuleList()
    for _ in range(parts):
        made.append(torch.nn.Identity())


def test_a_model_is_not_built_of_many_more_parts_than_weights_are_stored(monkeypatch):
    monkeypatch.setattr(counts, "_MOST_PARTS", 100)
    with few_parts("here", 3):
        build(100)
    with few_parts("here", 20):
        build(400)
    with pytest.raises(ExportError, match="here asks for a model of over 100 parts, but only 3 weights"):  # noqa: SIM117
        with few_parts("here", 3):
            build(10**9)
    build(101)  # nothing is counted any more
