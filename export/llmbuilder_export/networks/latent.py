"""Latent attention (MLA, DeepSeek-AI 2024): its keys, put together by one operator.

transformers writes the two parts of each key into empty memory, which traces to a dozen operators that copy it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from llmbuilder_export.networks.rotary import replaced

_EXPAND = "expand_kv"


@contextmanager
def joined_keys(model: nn.Module) -> Iterator[None]:
    """Let the layers of a model that have such attention join their keys for a while."""
    with ExitStack() as stack:
        for module in [each for each in model.modules() if hasattr(each, _EXPAND)]:
            stack.enter_context(replaced(module, _EXPAND, partial(_expanded, module)))
        yield


def _expanded(module: Any, latent: torch.Tensor, rotated: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [B, heads, S, size] of latents [B, 1, S, rank] and of the part of keys that all heads share."""
    sizes = module.qk_nope_head_dim, module.v_head_dim
    by_head = module.kv_b_proj(latent).unflatten(-1, (-1, sum(sizes))).squeeze(1).transpose(1, 2)
    own, values = by_head.split(sizes, dim=-1)
    return torch.cat((own, rotated.expand(-1, own.shape[1], -1, -1)), dim=-1), values
