"""Attention as transformers calls it, through its own interface, turned into that of networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.network import Attention, Heads

IMPLEMENTATION = "llmbuilder_export"
OTHERS = "Export another model, or report this one."

_HARMLESS = frozenset({"position_ids", "cache_position"})
_attention: ContextVar[Attention] = ContextVar("attention")


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: [B, heads, S, size] in, [B, S, heads, size] out.

    Raises:
        ExportError: the model wants something of it that the operator does not offer.
    """
    tensors = {name for name, option in options.items() if isinstance(option, torch.Tensor)} - _HARMLESS
    if attention_mask is not None:
        tensors.add("attention_mask")
    if tensors:
        raise ExportError(
            f"{type(module).__name__} uses {', '.join(sorted(tensors))} in attention, which cannot be exported. "
            f"{OTHERS}"
        )
    if key.shape[-1] != value.shape[-1]:
        raise ExportError(
            f"{type(module).__name__} has keys and values of different sizes, which cannot be exported. {OTHERS}"
        )
    batch, count, length, size = query.shape
    heads = Heads(
        count=count,
        key_value_count=key.shape[1],
        size=size,
        scale=size**-0.5 if scaling is None else float(scaling),
        window=sliding_window,
        softcap=softcap,
    )
    layer: Any = module.layer_idx
    q, k, v = (tensor.transpose(1, 2).reshape(batch, length, -1) for tensor in (query, key, value))
    return _attention.get()(layer, q, k, v, heads).view(batch, length, count, size), None


AttentionInterface.register(IMPLEMENTATION, attend)


@contextmanager
def attending(attention: Attention) -> Iterator[None]:
    """Let models compute attention by ``attention``."""
    token = _attention.set(attention)
    try:
        yield
    finally:
        _attention.reset(token)
