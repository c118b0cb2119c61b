"""LLMBuilder's GPT: pre-norm blocks, learned positions, exact GELU, no bias in the query/key/value projection.

Parameters carry upstream's names, so that its state dicts load as they are.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu, linear

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder_export.networks.attention import causal_attention, positions_from
from llmbuilder_export.networks.network import Attention, Heads, Network

_EPSILON = 1e-5


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, layer: int) -> None:
        super().__init__()
        self.qkv_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)
        self._layer = layer
        size = width // heads
        self._heads = Heads(count=heads, key_value_count=heads, size=size, scale=1 / math.sqrt(size))

    def forward(self, x: torch.Tensor, attention: Attention) -> torch.Tensor:
        query, key, value = self.qkv_proj(x).chunk(3, dim=-1)
        mixed: torch.Tensor = self.out_proj(attention(self._layer, query, key, value, self._heads))
        return mixed


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.fc2(gelu(self.fc1(x)))
        return output


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, layer: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = _SelfAttention(width, heads, layer)
        self.ln2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = _FeedForward(width)

    def forward(self, x: torch.Tensor, attention: Attention) -> torch.Tensor:
        x = x + self.attn(self.ln1(x), attention)
        output: torch.Tensor = x + self.mlp(self.ln2(x))
        return output


class GPT(Network):
    """The network of an LLMBuilder checkpoint. ``tied``: the output layer is the token embedding itself."""

    def __init__(self, facts: ModelFacts, *, tied: bool) -> None:
        """Build the layers of ``facts``; on torch's meta device this allocates nothing."""
        super().__init__()
        self.facts = facts
        width = facts.hidden_size
        self.token_embedding = nn.Embedding(facts.vocab_size, width)
        self.position_embedding = nn.Embedding(facts.context_length, width)
        self.blocks = nn.ModuleList(
            _Block(width, facts.num_attention_heads, layer) for layer in range(facts.num_layers)
        )
        self.ln_f = nn.LayerNorm(width, eps=_EPSILON)
        self.lm_head = None if tied else nn.Linear(width, facts.vocab_size, bias=False)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention: Attention, start: torch.Tensor
    ) -> torch.Tensor:
        """Compute logits [B, K, V]; see `Network.forward`."""
        return self._project(positions_from(self._hidden(input_ids, position_ids, attention), start))

    def reference(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Compute logits [B, S, V] as upstream does."""
        positions = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        return self._project(self._hidden(input_ids, positions, causal_attention))

    def _hidden(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention: Attention
    ) -> torch.Tensor:
        x = self.token_embedding(input_ids) + self.position_embedding(position_ids)
        for block in self.blocks:
            x = block(x, attention)
        normed: torch.Tensor = self.ln_f(x)
        return normed

    def _project(self, hidden: torch.Tensor) -> torch.Tensor:
        head = self.token_embedding if self.lm_head is None else self.lm_head
        return linear(hidden, head.weight)
