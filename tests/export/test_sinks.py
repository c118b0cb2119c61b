"""Attention with sinks: each head's share of nothing, in every form that a graph has attention in."""

from types import SimpleNamespace

import families
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

from llmbuilder.bundle.shapes import Call, ShapeError, Value, attention
from llmbuilder.errors import ExportError
from llmbuilder_export.cache.rewrite import rewrite
from llmbuilder_export.cuda.kernels import refuse_missing
from llmbuilder_export.fuse import fuse
from llmbuilder_export.networks.adapt import AdaptedNetwork
from llmbuilder_export.networks.attention import SINKS_INPUT, causal_attention
from llmbuilder_export.networks.network import Heads
from llmbuilder_export.trace import trace

HEADS = 4


@pytest.fixture(scope="module")
def traced():
    """A model of two layers, of which the first sees 64 tokens."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(families.configure("granite_swa")).eval().requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.sinks += torch.arange(HEADS) * 2.0 - 2
    graph = trace(AdaptedNetwork(model, families.WINDOW))
    fuse(graph)
    return graph


@pytest.fixture
def graph(traced):
    return traced.clone().graph


def attention_of(graph):
    return [node for node in graph.all_nodes() if node.op_type == "GroupQueryAttention"]


def test_plain_attention_computes_what_gpt_oss_does():
    parts = dict(zip(("query", "key", "value"), torch.randn(3, 2, HEADS, 7, 8), strict=True))
    sinks, mask = torch.randn(HEADS) * 3, torch.full((7, 7), -torch.inf).triu(1)
    module = SimpleNamespace(sinks=sinks, num_key_value_groups=1, training=False)
    theirs, _ = eager_attention_forward(module, **parts, attention_mask=mask, scaling=0.3)
    rows = (part.transpose(1, 2).flatten(2) for part in parts.values())
    ours = causal_attention(
        0, *rows, Heads(count=HEADS, key_value_count=HEADS, size=8, scale=0.3, sinks=sinks)
    )
    torch.testing.assert_close(ours, theirs.flatten(2))


def test_one_operator_attends_and_rotates(graph):
    for node in attention_of(graph):
        assert node.attributes.get_int("do_rotary") == 1
        np.testing.assert_array_equal(np.diff(node.inputs[SINKS_INPUT].const_value.numpy()), 2)


def test_a_cache_in_int8_keeps_them_in_steps_and_in_chunks(graph):
    pasts = [value.name for value in graph.inputs if value.name.startswith("past")]
    rewrite(graph, dict.fromkeys(pasts, np.float32(0.1)))
    nodes = attention_of(graph)
    assert len(nodes) == len(pasts)  # of each layer a step and a chunk
    assert all(node.inputs[SINKS_INPUT] is not None for node in nodes)


def test_bundles_for_cuda_are_refused(graph):
    with pytest.raises(
        ExportError, match=r"tiny .* GroupQueryAttention with sinks, which nobody has tried on a card"
    ):
        refuse_missing(graph, "tiny")


@pytest.mark.parametrize("shape", [(HEADS - 1,), (1, HEADS), ()])
def test_the_check_of_graphs_wants_one_for_each_head(shape):
    query, shared, past = (Value((1, 3, size)) for size in (HEADS * 8, 16, 8))
    cache = Value((1, 2, 5, 8))
    inputs = [query, shared, shared, cache, cache, past, past, None, None, None, None]
    heads = {"num_heads": HEADS, "kv_num_heads": 2}
    attention(Call([*inputs, Value((HEADS,))], heads, 3))
    with pytest.raises(ShapeError, match="attention of 4 heads has sinks of shape"):
        attention(Call([*inputs, Value(shape)], heads, 3))
