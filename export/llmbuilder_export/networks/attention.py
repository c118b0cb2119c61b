"""Attention, twice: as one ONNX operator over an in-place KV cache, and as plain PyTorch to verify it against."""

import math
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch.nn.functional import pad
from torch.onnx.ops import symbolic, symbolic_multi_out

from llmbuilder.bundle.manifest import LayerCache
from llmbuilder_export.networks.network import Heads

SINKS_INPUT = 11
"""Of the operator; those before it are for rotation and biases."""
_WIDTH_INPUT = 6
_SIZE_STEP = 8
_END = torch.iinfo(torch.int64).max
_Option = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
Cache = tuple[torch.Tensor, torch.Tensor]
_Input = TypeVar("_Input")


def after_width(sinks: _Input | None) -> list[_Input | None]:
    """The operator's inputs behind the width of the mask, without rotation and biases: none, or up to the sinks."""
    return [] if sinks is None else [*[None] * (SINKS_INPUT - _WIDTH_INPUT - 1), sinks]


class CachedAttention:
    """Traces to ``com.microsoft.GroupQueryAttention``: its past and present may be the same memory.

    The operator appends keys and values to the cache and attends over it, each row up to its own length
    (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
    """

    def __init__(self, attention_mask: torch.Tensor, past: Sequence[Cache]) -> None:
        """Attend over ``past``.

        Args:
            attention_mask: [B, T] int64; row b has ones for its tokens, those of this call included, then zeros.
            past: one pair of [B, heads, P, size] for each layer.
        """
        self.present: list[Cache] = []
        self._past = past
        self._last = (attention_mask.sum(1) - 1).to(torch.int32)
        # As a Shape of one dimension: the scalar that PyTorch makes of a size costs a node more.
        width = symbolic("Shape", [attention_mask], {"start": 1, "end": 2}, dtype=torch.int64, shape=(1,))
        self._width = width.to(torch.int32)

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
    ) -> torch.Tensor:
        """Attend over the layer's cache; see `Attention`."""
        past_key, past_value = self._past[layer]
        query = _widened(query, heads.count, heads.size)
        output, present_key, present_value = symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            [
                query,
                _widened(key, heads.key_value_count, heads.size),
                _widened(value, heads.key_value_count, heads.size),
                past_key,
                past_value,
                self._last,
                self._width,
                *after_width(heads.sinks),
            ],
            _operator_options(heads),
            dtypes=[query.dtype, past_key.dtype, past_value.dtype],
            shapes=[query.shape, past_key.shape, past_value.shape],
            version=1,
        )
        self.present.append((present_key, present_value))
        return _narrowed(output, heads.count, heads.size)


def causal_attention(
    _layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
) -> torch.Tensor:
    """Scaled dot-product attention; see `Attention`.

    Args:
        query: [B, S, heads * size], of the last S of T tokens.
        key: [B, T, key heads * size].
        value: as ``key``.
        heads: how they divide.
    """
    repeat = heads.count // heads.key_value_count
    q = _by_head(query, heads.count).transpose(1, 2)
    k = _by_head(key, heads.key_value_count).transpose(1, 2).repeat_interleave(repeat, 1)
    v = _by_head(value, heads.key_value_count).transpose(1, 2).repeat_interleave(repeat, 1)
    before = key.shape[1] - query.shape[1]
    every = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool)
    hidden = every.triu(before + 1)
    if heads.window is not None:
        hidden |= every.tril(before - heads.window)
    scores = q @ k.transpose(-2, -1) * heads.scale
    if heads.softcap:
        scores = heads.softcap * (scores / heads.softcap).tanh()
    scores = scores.masked_fill(hidden, -math.inf)
    if heads.sinks is not None:
        sinks = heads.sinks.view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat((scores, sinks), dim=-1)
    mixed: torch.Tensor = scores.softmax(-1)[..., : v.shape[2]] @ v
    return mixed.transpose(1, 2).flatten(2)


def cached_size(size: int) -> int:
    """Dimensions of a head in the cache: the operator takes multiples of 8 only, so smaller heads get zeros."""
    return -(-size // _SIZE_STEP) * _SIZE_STEP


def cached(heads: Heads) -> LayerCache:
    """What a layer keeps of each token."""
    size = cached_size(heads.size)
    return LayerCache(heads=heads.key_value_count, key_size=size, value_size=size, window=heads.window)


def fits_attention(table: Sequence[int]) -> bool:
    """Whether attention takes a table of rotary positions of the shape [window, rotated dimensions / 2].

    ONNX Runtime wants columns in multiples of 8.
    """
    return table[1] % 8 == 0


def _by_head(x: torch.Tensor, count: int) -> torch.Tensor:
    """[B, S, count * size] as [B, S, count, size]."""
    return x.view(*x.shape[:2], count, x.shape[2] // count)


def _widened(x: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Pad each head of [B, S, count * size] to its size in the cache."""
    if cached_size(size) == size:
        return x
    return pad(_by_head(x, count), (0, cached_size(size) - size)).flatten(2)


def _narrowed(x: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Undo `_widened`."""
    if cached_size(size) == size:
        return x
    return _by_head(x, count)[..., :size].flatten(2)


def positions_from(x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Positions of [B, S, width] from ``start`` (int64 [1]) on: a Slice, and no arithmetic that a device would lack."""
    count = cast("int", (-start).item())
    return symbolic(
        "Slice",
        [x, start, torch.tensor([_END]), torch.tensor([1])],
        dtype=x.dtype,
        shape=(x.shape[0], count, x.shape[2]),
    )


def _operator_options(heads: Heads) -> dict[str, _Option]:
    options: dict[str, _Option] = {
        "num_heads": heads.count,
        "kv_num_heads": heads.key_value_count,
        "scale": heads.scale,
    }
    if heads.window is not None:
        options["local_window_size"] = heads.window
    if heads.softcap:
        options["softcap"] = heads.softcap
    return options
