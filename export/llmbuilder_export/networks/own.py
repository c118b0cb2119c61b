"""Families whose attention is code of their own instead of transformers' interface, but standard underneath.

What reaches attention is written anew here, for tracing alone: what a bundle is compared with stays their own code.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.alibi import alibi_columns, with_columns
from llmbuilder_export.networks.interface import attended
from llmbuilder_export.networks.refusals import family_of
from llmbuilder_export.networks.rotary import Tables, replaced


class OwnAttention:
    """The attention of a model, if it is of such a family; of any other, nothing."""

    def __init__(self, model: PreTrainedModel, context_length: int) -> None:
        """Find the modules and what depends on positions.

        Raises:
            ExportError: the window is too long for its kind of positions, or heads have no size.
        """
        self.tables: Tables | None = None
        self.columns: torch.Tensor | None = None
        self._modules: list[Any] = [each for each in model.modules() if type(each).__name__ in _FAMILIES]
        self._modeling = sys.modules[type(model).__module__]
        if not self._modules:
            return
        first = self._modules[0]
        if hasattr(first, "embed_positions"):
            sin, cos = first.embed_positions[:context_length].chunk(2, dim=-1)
            self.tables = Tables(cos.clone(), sin.clone(), interleaved=True)
        if _is_biased(model.config):
            if first.head_dim < 1:
                raise ExportError(
                    f"{family_of(model)} has heads of no size. Correct their number in its configuration."
                )
            self.columns = alibi_columns(model, _scale(first), first.head_dim, context_length)

    @contextmanager
    def replaced(self, position_ids: torch.Tensor) -> Iterator[None]:
        """Compute attention from here for a while, of tokens at these positions [B, S]."""
        with ExitStack() as stack:
            if self._modules:
                stack.enter_context(replaced(self._modeling, "create_causal_mask", _no_mask))
            for layer, module in enumerate(self._modules):
                method, compute = _FAMILIES[type(module).__name__]
                call = partial(compute, module, _Place(self, layer, position_ids))
                stack.enter_context(replaced(module, method, call))
            yield


class _Place:
    """One layer of a call: what its queries, keys and values [B, heads, S, size] go through."""

    def __init__(self, own: OwnAttention, layer: int, position_ids: torch.Tensor) -> None:
        self._own = own
        self._layer = layer
        self._position_ids = position_ids

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        return x if self._own.tables is None else self._own.tables.rotated(x, self._position_ids)

    def attended(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None = None,
        window: int | None = None,
    ) -> torch.Tensor:
        """[B, S, heads * size]."""
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        if self._own.columns is not None:
            key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
            query, key = with_columns(query, key, self._own.columns, self._position_ids)
        return attended(self._layer, query, key, value, scale, window).flatten(2)


def _gpt_neo(
    module: Any, place: _Place, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object
) -> tuple[torch.Tensor, None]:
    window = module.config.window_size if module.attention_type == "local" else None
    mixed = place.attended(query, key, value, 1.0, window)
    return _by_head(mixed, module.num_heads), None


def _gpt_neox_japanese(
    module: Any, place: _Place, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object
) -> tuple[torch.Tensor, None]:
    return _by_head(place.attended(query, key, value), module.num_attention_heads), None


def _separate(
    module: Any, place: _Place, hidden_states: torch.Tensor, **_: object
) -> tuple[torch.Tensor, None]:
    """Queries, keys and values from layers of their own."""
    query, key, value = (
        _by_head(projected, projected.shape[2] // module.head_dim)
        for projected in (project(hidden_states) for project in (module.q_proj, module.k_proj, module.v_proj))
    )
    return module.out_proj(place.attended(place.rotated(query), place.rotated(key), value)), None


def _codegen(
    module: Any, place: _Place, hidden_states: torch.Tensor, **_: object
) -> tuple[torch.Tensor, None]:
    """Four groups of heads, each with its queries, values and keys."""
    grouped = module.qkv_proj(hidden_states).unflatten(-1, (4, 3, -1))
    query, value, key = (
        _by_head(part.flatten(2), module.num_attention_heads) for part in grouped.unbind(dim=3)
    )
    return module.out_proj(place.attended(place.rotated(query), place.rotated(key), value)), None


def _falcon(
    module: Any, place: _Place, hidden_states: torch.Tensor, *, position_embeddings: Any = None, **_: object
) -> tuple[torch.Tensor, None]:
    """Groups of heads, in each the queries, then the one key and the one value that they share."""
    fused = module.query_key_value(hidden_states).unflatten(-1, (module.num_kv_heads, -1, module.head_dim))
    parts = fused[..., :-2, :], fused[..., -2:-1, :], fused[..., -1:, :]
    query, key, value = (part.flatten(2, 3).transpose(1, 2) for part in parts)
    if not module.config.alibi:
        modeling: Any = sys.modules[type(module).__module__]
        query, key = modeling.apply_rotary_pos_emb(query, key, *position_embeddings)
    return module.dense(place.attended(query, key, value)), None


def _bloom(
    module: Any, place: _Place, hidden_states: torch.Tensor, residual: torch.Tensor, **_: object
) -> tuple[torch.Tensor, None]:
    fused = module.query_key_value(hidden_states).unflatten(-1, (module.num_heads, 3, -1))
    query, key, value = (part.transpose(1, 2) for part in fused.unbind(dim=3))
    return module.dense(place.attended(query, key, value)) + residual, None


def _mpt(module: Any, place: _Place, hidden_states: torch.Tensor, **_: object) -> tuple[torch.Tensor, None]:
    fused = module.Wqkv(hidden_states)
    if module.clip_qkv:
        fused = fused.clamp(-module.clip_qkv, module.clip_qkv)
    query, key, value = (_by_head(part, module.n_heads) for part in fused.chunk(3, dim=2))
    return module.out_proj(place.attended(query, key, value, module.softmax_scale)), None


_FAMILIES: Mapping[str, tuple[str, Callable[..., tuple[torch.Tensor, None]]]] = {
    "BloomAttention": ("forward", _bloom),
    "CodeGenAttention": ("forward", _codegen),
    "FalconAttention": ("forward", _falcon),
    "GPTJAttention": ("forward", _separate),
    "GPTNeoSelfAttention": ("_attn", _gpt_neo),
    "GPTNeoXJapaneseAttention": ("_attn", _gpt_neox_japanese),
    "MptAttention": ("forward", _mpt),
    "XGLMAttention": ("forward", _separate),
}
"""The method of each class of modules that is replaced, and by what."""


def _by_head(x: torch.Tensor, count: int) -> torch.Tensor:
    """[B, S, count * size] as [B, count, S, size]."""
    return x.view(*x.shape[:2], count, x.shape[2] // count).transpose(1, 2)


def _is_biased(config: Any) -> bool:
    return config.model_type in ("bloom", "mpt") or bool(getattr(config, "alibi", False))


def _scale(module: Any) -> float:
    """What attention multiplies scores by."""
    return float(getattr(module, "softmax_scale", module.head_dim**-0.5))


def _no_mask(*_: object, **__: object) -> torch.Tensor:
    """In the place of a causal mask, which the operator does without."""
    return torch.zeros(1)
