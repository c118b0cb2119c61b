"""Rotary positions (Su et al. 2021) as one operator, where they are of the usual kind, which is tried out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.onnx.ops import symbolic
from transformers import PreTrainedModel

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import fits_attention
from llmbuilder_export.networks.refusals import family_of

_ROTATE = "apply_rotary_pos_emb"
_ROTATE_COMPLEX = "apply_rotary_emb"
_CLOSE = 1e-5
_UNUSUAL = (TypeError, ValueError, RuntimeError, IndexError)
"""What code raises that has a rotation of another kind, which is traced as it is."""


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
    rotate: str
    embedding: nn.Module
    tables: Tables


def find_rotary(model: PreTrainedModel, context_length: int) -> Rotary | None:
    """Tabulate the model's rotary positions, or return None if it has none that behave in the usual way.

    Raises:
        ExportError: the rotation depends on how long the text is.
    """
    modeling = sys.modules[type(model).__module__]
    embedding = getattr(model.base_model, "rotary_emb", None)
    if embedding is None or not _is_only_one(model, embedding):
        return None
    _refuse_dynamic(model, embedding, context_length)
    for rotate in (_ROTATE, _ROTATE_COMPLEX):
        original = getattr(modeling, rotate, None)
        tables = None if original is None else _tables(original, embedding, context_length)
        if tables is not None:
            return Rotary(modeling, rotate, embedding, tables)
    return None


@contextmanager
def rotating(rotary: Rotary | None, position_ids: torch.Tensor) -> Iterator[None]:
    """Let the model's code rotate queries and keys [B, heads, S, size] by one operator each."""
    if rotary is None:
        yield
        return

    def rotate(q: torch.Tensor, k: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        return rotary.tables.rotated(q, position_ids), rotary.tables.rotated(k, position_ids)

    # What depends on how long the text is, is in the tables: no graph can hold a decision about it, or complex numbers.
    with ExitStack() as stack:
        stack.enter_context(replaced(rotary.modeling, rotary.rotate, rotate))
        stack.enter_context(replaced(rotary.embedding, "rope_type", "default"))
        if rotary.rotate == _ROTATE_COMPLEX:
            stack.enter_context(replaced(rotary.embedding, "forward", lambda *_, **__: rotary.tables.cos))
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
            f"{family_of(model)} rotates positions by how long the text is ({kind}) beyond {original} tokens, "
            f"which a cache cannot follow. Export it with --max-context {original}."
        )


def _is_only_one(model: nn.Module, embedding: nn.Module) -> bool:
    """Whether no layer of a model rotates by other angles than those of its one embedding."""
    others = [each for each in model.modules() if type(each) is type(embedding)]
    frequencies: list[Any] = [getattr(each, "inv_freq", None) for each in others]
    return all(frequencies[0] is each or torch.equal(frequencies[0], each) for each in frequencies)


def _tables(rotate: Callable[..., Any], embedding: nn.Module, context_length: int) -> Tables | None:
    """The tables with which the operator does what a model's function does, or None if there are none."""
    with torch.inference_mode():
        try:
            angles = embedding(torch.zeros(1, 1), torch.arange(context_length)[None])
            candidates = _candidates(angles)
        except _UNUSUAL:
            return None
        return next((tables for tables in candidates if _rotates_by(rotate, angles, tables)), None)


def _candidates(angles: Any) -> list[Tables]:
    """The tables that cosines and sines may mean: each twice or once, or both as one complex number."""
    if isinstance(angles, torch.Tensor):
        return [Tables(angles.real[0].clone(), angles.imag[0].clone(), interleaved=True)]
    cos, sin = angles
    sizes = cos.shape[-1] // 2, cos.shape[-1]
    return [Tables(cos[0, :, :size].clone(), sin[0, :, :size].clone()) for size in sizes]


def _rotates_by(rotate: Callable[..., Any], angles: Any, tables: Tables) -> bool:
    """Whether a model's function, given its angles of all positions, rotates the last three by these tables."""
    parts = (angles,) if isinstance(angles, torch.Tensor) else angles
    cos, sin = tables.cos[-3:], tables.sin[-3:]
    x = torch.randn(1, 2, len(cos), 2 * cos.shape[-1], generator=torch.Generator().manual_seed(0))
    first, second = (x[..., ::2], x[..., 1::2]) if tables.interleaved else x.chunk(2, dim=-1)
    rotated = first * cos - second * sin, second * cos + first * sin
    expected = torch.stack(rotated, -1).flatten(-2) if tables.interleaved else torch.cat(rotated, -1)
    try:
        results = rotate(x, x, *(part[:, -3:] for part in parts))
    except _UNUSUAL:
        return False
    return all(torch.allclose(result, expected, atol=_CLOSE) for result in results)
