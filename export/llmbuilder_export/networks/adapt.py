"""Any causal language model of ``transformers`` as a `Network`.

Attention is handed in through transformers' own interface for it, and no mask or cache is made around it; all else
is traced as it is. Rotary positions become one operator where they are of the usual kind, which is tried out rather
than looked up.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.onnx.ops import symbolic
from transformers import AttentionInterface, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import cached, causal_attention, fits_attention, positions_from
from llmbuilder_export.networks.network import Attention, Heads, Network

_IMPLEMENTATION = "llmbuilder_export"
_ROTATE = "apply_rotary_pos_emb"
_CLOSE = 1e-5
_HARMLESS = frozenset({"position_ids", "cache_position"})
_attention: ContextVar[Attention] = ContextVar("attention")

_OTHERS = "Export another model, or report this one."


class AdaptedNetwork(Network):
    """A transformers model with attention from outside, and with its own attention as reference."""

    def __init__(self, model: PreTrainedModel, context_length: int) -> None:
        """Adapt ``model`` in place.

        Args:
            model: the model, in float32 and evaluation mode.
            context_length: tokens of the window.

        Raises:
            ExportError: the model attends in a way that a bundle cannot express.
        """
        super().__init__()
        simplify(model)
        self.model = model
        self._rotary: Rotary | None = None
        heads, vocab_size = self._try()
        self.facts = ModelFacts(
            architecture=model.config.model_type,
            vocab_size=vocab_size,
            context_length=context_length,
            hidden_size=model.get_input_embeddings().weight.shape[1],
            num_attention_heads=heads[0].count,
            parameters=sum(weight.numel() for weight in model.parameters()),
            layers=tuple(map(cached, heads)),
        )
        self._rotary = find_rotary(model, context_length)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention: Attention, start: torch.Tensor
    ) -> torch.Tensor:
        """Compute logits [B, K, V]; see `Network.forward`."""
        self.model.set_attn_implementation(_IMPLEMENTATION)
        with _attending(attention), _rotating(self._rotary, position_ids), _positions_from(self.model, start):
            logits: torch.Tensor = self.model(
                input_ids=input_ids, position_ids=position_ids, use_cache=False
            ).logits
        return logits

    def reference(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Compute logits [B, S, V] with transformers' own attention."""
        self.model.set_attn_implementation("eager")
        logits: torch.Tensor = self.model(input_ids=input_ids, use_cache=False).logits
        return logits

    def _try(self) -> tuple[list[Heads], int]:
        """Run two tokens; return each layer's heads and the size of the vocabulary.

        Raises:
            ExportError: the model cannot run like this, or its layers do not all attend alike.
        """
        seen: list[Heads] = []

        def attend(
            layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
        ) -> torch.Tensor:
            if layer != len(seen):
                raise ExportError(
                    f"{_name(self.model)} does not attend once in each layer, in order. {_OTHERS}"
                )
            seen.append(heads)
            return causal_attention(layer, query, key, value, heads)

        ids = torch.zeros(1, 2, dtype=torch.int64)
        try:
            with torch.inference_mode():
                logits = self(ids, torch.arange(2)[None], attend, torch.tensor([-2]))
        except ExportError:
            raise
        except Exception as error:  # model code of many authors, which may raise anything
            raise ExportError(f"{_name(self.model)} cannot be run for export: {error}. {_OTHERS}") from error
        if len({(heads.count, heads.key_value_count, heads.size) for heads in seen}) != 1:
            raise ExportError(
                f"{_name(self.model)} computes attention in its own way, which bundles cannot express. {_OTHERS}"
            )
        return seen, int(logits.shape[-1])


@dataclass(frozen=True)
class Rotary:
    """Tables of rotary positions (Su et al. 2021), and the model code that uses them.

    ``cos`` and ``sin`` have shape [window, rotated dimensions / 2].
    """

    modeling: ModuleType
    original: Callable[..., Any]
    cos: torch.Tensor
    sin: torch.Tensor


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
            tables = cos[0, :, :half].clone(), sin[0, :, :half].clone()
            usual = _rotates_halves(original, cos[:, -3:], sin[:, -3:])
    except (TypeError, ValueError, RuntimeError, IndexError):
        return None  # a rotation of another kind: it is traced as it is
    return Rotary(modeling, original, *tables) if usual else None


def simplify(model: nn.Module) -> None:
    """Replace modules that have an equal among torch's own, which trace to a single operator."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, Conv1D):
                setattr(parent, name, _linear(child))
            elif not list(child.parameters()) and _is_tanh_gelu(child):
                setattr(parent, name, nn.GELU(approximate="tanh"))


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
            f"{_name(module)} uses {', '.join(sorted(tensors))} in attention, which cannot be exported. "
            f"{_OTHERS}"
        )
    if key.shape[-1] != value.shape[-1]:
        raise ExportError(
            f"{_name(module)} has keys and values of different sizes, which cannot be exported. {_OTHERS}"
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


AttentionInterface.register(_IMPLEMENTATION, attend)


@contextmanager
def _attending(attention: Attention) -> Iterator[None]:
    token = _attention.set(attention)
    try:
        yield
    finally:
        _attention.reset(token)


@contextmanager
def _rotating(rotary: Rotary | None, position_ids: torch.Tensor) -> Iterator[None]:
    """Let the model's code rotate queries and keys [B, heads, S, size] by one operator each."""
    if rotary is None:
        yield
        return

    size = 2 * rotary.cos.shape[-1]

    def rotated(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] > size and not fits_attention(rotary.cos.shape):
            # The operator rotates whole heads, attention parts of them, but not of any size.
            return torch.cat((rotated(x[..., :size]), x[..., size:]), dim=-1)
        inputs = [x, position_ids, rotary.cos, rotary.sin]
        return symbolic("com.microsoft::RotaryEmbedding", inputs, dtype=x.dtype, shape=x.shape, version=1)

    def rotate(q: torch.Tensor, k: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        return rotated(q), rotated(k)

    setattr(rotary.modeling, _ROTATE, rotate)
    try:
        yield
    finally:
        setattr(rotary.modeling, _ROTATE, rotary.original)


@contextmanager
def _positions_from(model: PreTrainedModel, start: torch.Tensor) -> Iterator[None]:
    """Project only the positions from ``start`` on to the vocabulary."""
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (positions_from(inputs[0], start),)
    )
    try:
        yield
    finally:
        hook.remove()


def _refuse_dynamic(model: PreTrainedModel, embedding: nn.Module, context_length: int) -> None:
    kind = getattr(embedding, "rope_type", "default")
    original = getattr(embedding, "original_max_seq_len", context_length)
    parameters = getattr(model.config, "rope_parameters", None) or {}
    original = parameters.get("original_max_position_embeddings", original)
    if kind in ("dynamic", "longrope") and context_length > original:
        raise ExportError(
            f"{_name(model)} rotates positions by how long the text is ({kind}) beyond {original} tokens, "
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


def _is_tanh_gelu(module: nn.Module) -> bool:
    if not type(module).__module__.startswith("transformers.activations"):
        return False
    x = torch.linspace(-6, 6, 101)
    return torch.allclose(module(x), nn.functional.gelu(x, approximate="tanh"), atol=_CLOSE)


def _linear(conv: Conv1D) -> nn.Linear:
    """The same layer with its weight seen transposed, not copied."""
    with torch.device("meta"):
        linear = nn.Linear(conv.weight.shape[0], conv.weight.shape[1])
    linear.weight = nn.Parameter(conv.weight.detach().t(), requires_grad=False)
    linear.bias = conv.bias
    return linear


def _name(module: nn.Module) -> str:
    return type(module).__name__
