"""Rotary positions (Su et al. 2021) as one operator, where they are of the usual kind, which is tried out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.onnx.ops import symbolic
from transformers import PreTrainedModel

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import fits_attention

_ROTATE = "apply_rotary_pos_emb"
_CLOSE = 1e-5


@dataclass(frozen=True)
class Tables:
    """Cosines and sines, each [window, rotated dimensions / 2].

    ``interleaved``: a dimension is rotated with its neighbour instead of with the one half of them further.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    interleaved: bool = False

    def rotated(self, x: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Rotate the first dimensions of each head of [B, heads, S, size], the rest stay."""
        size = 2 * self.cos.shape[-1]
        if x.shape[-1] > size and not fits_attention(self.cos.shape):
            # The operator rotates whole heads, attention parts of them, but not of any size.
            return torch.cat((self.rotated(x[..., :size], position_ids), x[..., size:]), dim=-1)
        inputs = [x, position_ids, self.cos, self.sin]
        return symbolic(
            "com.microsoft::RotaryEmbedding",
            inputs,
            {"interleaved": 1} if self.interleaved else {},
            dtype=x.dtype,
            shape=x.shape,
            version=1,
        )


@dataclass(frozen=True)
class Rotary:
    """What a model rotates by, and its code that makes it and uses it."""

    modeling: ModuleType
    embedding: nn.Module
    tables: Tables


def find_rotary(model: PreTrainedModel, context_length: int) -> Rotary | None:
    """Tabulate the model's rotary positions, or return None if it has none that behave in the usual way.

    Raises:
        ExportError: the rotation depends on how long the text is.
    """
    modeling = sys.modules[type(model).__module__]
    original = getattr(modeling, _ROTATE, None)
    embedding = getattr(model.base_model, "rotary_emb", None)
    if original is None or embedding is None:
        return None
    _refuse_dynamic(model, embedding, context_length)
    try:
        with torch.inference_mode():
            cos, sin = embedding(torch.zeros(1, 1), torch.arange(context_length)[None])
            half = cos.shape[-1] // 2
            tables = Tables(cos[0, :, :half].clone(), sin[0, :, :half].clone())
            usual = _rotates_halves(original, cos[:, -3:], sin[:, -3:])
    except (TypeError, ValueError, RuntimeError, IndexError):
        return None  # a rotation of another kind: it is traced as it is
    return Rotary(modeling, embedding, tables) if usual else None


@contextmanager
def rotating(rotary: Rotary | None, position_ids: torch.Tensor) -> Iterator[None]:
    """Let the model's code rotate queries and keys [B, heads, S, size] by one operator each."""
    if rotary is None:
        yield
        return

    def rotate(q: torch.Tensor, k: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        return rotary.tables.rotated(q, position_ids), rotary.tables.rotated(k, position_ids)

    # What depends on how long the text is, is in the tables: no graph can hold a decision about it.
    with replaced(rotary.modeling, _ROTATE, rotate), replaced(rotary.embedding, "rope_type", "default"):
        yield


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Give an attribute another value for a while; one that is missing is made, and removed."""
    missing = object()
    original = vars(owner).get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if original is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, original)


def _refuse_dynamic(model: PreTrainedModel, embedding: nn.Module, context_length: int) -> None:
    kind = getattr(embedding, "rope_type", "default")
    original = getattr(embedding, "original_max_seq_len", context_length)
    parameters = getattr(model.config, "rope_parameters", None) or {}
    original = parameters.get("original_max_position_embeddings", original)
    if kind in ("dynamic", "longrope") and context_length > original:
        raise ExportError(
            f"{type(model).__name__} rotates positions by how long the text is ({kind}) beyond {original} tokens, "
            f"which a cache cannot follow. Export it with --max-context {original}."
        )


def _rotates_halves(rotate: Callable[..., Any], cos: torch.Tensor, sin: torch.Tensor) -> bool:
    """Whether a model's function pairs the first half of the dimensions with the second, as the operator does.

    Args:
        rotate: the function.
        cos: [1, S, size].
        sin: likewise.
    """
    half = cos.shape[-1] // 2
    x = torch.randn(1, 2, *cos.shape[1:], generator=torch.Generator().manual_seed(0))
    first, second = x[..., :half], x[..., half:]
    c, s = cos[:, None, :, :half], sin[:, None, :, :half]
    expected = torch.cat((first * c - second * s, second * c + first * s), dim=-1)
    return all(torch.allclose(result, expected, atol=_CLOSE) for result in rotate(x, x, cos, sin))
