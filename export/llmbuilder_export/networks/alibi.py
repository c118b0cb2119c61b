"""Attention with linear biases (ALiBi, Press et al. 2022): scores grow with the position of what is attended to.

A bias that depends on the key alone is one more dimension of each key, of which every query has a one. So attention
stays the operator that it is: nothing is as large as queries times keys, and a cached key brings its bias along.
That a query's own position is left out changes all its scores by the same, which changes nothing.
"""

import sys
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import cached_size
from llmbuilder_export.networks.refusals import family_of

_PARTS = 3
_LARGEST = 8192
"""Of a bias: the scores it is added to keep an error of at most 0.0005 in float32."""


def alibi_columns(model: PreTrainedModel, scale: float, size: int, context_length: int) -> torch.Tensor:
    """What the keys of each position and head get as further dimensions, [window, heads, columns].

    Each bias is the sum of three numbers that half precision holds as well.

    Args:
        model: of the family bloom, falcon or mpt.
        scale: what attention multiplies all scores by.
        size: dimensions of a head; those of its columns fill up what the cache keeps of it.
        context_length: tokens of the window.

    Raises:
        ExportError: the window is so long that scores would be inexact.
    """
    bias = _biases(model, context_length)
    if (largest := float(bias.max())) > _LARGEST:
        raise ExportError(
            f"{family_of(model)} adds up to {largest:.0f} to scores at the end of {context_length} tokens, which "
            f"makes them too coarse. Export it with --max-context {int(context_length * _LARGEST / largest)}."
        )
    rest, parts = bias / scale, []
    for _ in range(_PARTS):
        parts.append(rest.half().float())
        rest = rest - parts[-1]
    return pad(torch.stack(parts, dim=-1), (0, cached_size(size + _PARTS) - size - _PARTS))


def with_columns(
    query: torch.Tensor, key: torch.Tensor, columns: torch.Tensor, position_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys [B, heads, S, size] with the columns of their positions [B, S]."""
    further = columns[position_ids].transpose(1, 2)
    return pad(query, (0, columns.shape[-1]), value=1.0), torch.cat((key, further), dim=-1)


def _biases(model: PreTrainedModel, context_length: int) -> torch.Tensor:
    """What the model adds to scaled scores, from 0 on: [window, heads]."""
    modeling: Any = sys.modules[type(model).__module__]
    config: Any = model.config
    heads = config.num_attention_heads
    if config.model_type == "mpt":
        bias = modeling.build_mpt_alibi_tensor(heads, context_length)
    else:
        bias = modeling.build_alibi_tensor(
            torch.ones(1, context_length, dtype=torch.int64), heads, torch.float32
        )
    if config.model_type == "falcon":  # which scales them too
        bias = bias * (config.hidden_size // heads) ** -0.5
    rows: torch.Tensor = (bias - bias[..., :1])[:, 0].float().t()
    return rows
