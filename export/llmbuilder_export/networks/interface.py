"""Attention as transformers calls it, through its own interface, turned into that of networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from transformers import AttentionInterface

from llmbuilder_export.networks.network import Attention, Heads
from llmbuilder_export.networks.refusals import family_of, refusal

IMPLEMENTATION = "llmbuilder_export"

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
    sinks = options.pop("s_aux", None)
    tensors = {name for name, option in options.items() if isinstance(option, torch.Tensor)} - _HARMLESS
    if attention_mask is not None:
        tensors.add("attention_mask")
    if tensors:
        raise refusal(
            family_of(module),
            "its attention adds something of its own to scores, a mask or biases, which bundles cannot express",
        )
    layer: Any = module.layer_idx
    return attended(layer, query, key, value, scaling, sliding_window, softcap, sinks), None


def attended(
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one layer: [B, heads, S, size] in, [B, S, heads, value size] out.

    Values smaller than keys, or keys smaller than values, are filled up with zeros, which change nothing.
    """
    batch, count, length, size = query.shape
    wanted = value.shape[-1]
    widest = max(size, wanted)
    heads = Heads(
        count=count,
        key_value_count=key.shape[1],
        size=widest,
        scale=size**-0.5 if scale is None else float(scale),
        window=window,
        softcap=softcap,
        sinks=sinks,
    )
    q, k, v = (_rows(tensor, widest) for tensor in (query, key, value))
    return _attention.get()(layer, q, k, v, heads).view(batch, length, count, widest)[..., :wanted]


def _rows(x: torch.Tensor, size: int) -> torch.Tensor:
    """[B, heads, S, up to size] as [B, S, heads * size]."""
    if x.shape[-1] < size:
        x = pad(x, (0, size - x.shape[-1]))
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


AttentionInterface.register(IMPLEMENTATION, attend)


@contextmanager
def attending(attention: Attention) -> Iterator[None]:
    """Let models compute attention by ``attention``."""
    token = _attention.set(attention)
    try:
        yield
    finally:
        _attention.reset(token)
