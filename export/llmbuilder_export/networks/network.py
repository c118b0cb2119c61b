"""What every source is turned into: a torch module whose attention is handed in from outside."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from llmbuilder.bundle.manifest import ModelFacts, SourceFacts


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Shape and options of one layer's attention.

    ``window`` counts the tokens seen, the current one included. ``sinks`` [count] are scores of nothing: each takes its
    part of a softmax, and has no value (Xiao et al. 2023, as learned by gpt-oss).
    """

    count: int
    key_value_count: int
    size: int
    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: torch.Tensor | None = field(default=None, compare=False)


class Attention(Protocol):
    """Causal attention of one layer over its own past."""

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads, /
    ) -> torch.Tensor:
        """Attend.

        Args:
            layer: index of the layer, from 0.
            query: [B, S, count * size].
            key: [B, S, key_value_count * size].
            value: as ``key``.
            heads: how the last dimension divides.

        Returns:
            [B, S, count * size].
        """
        ...


class Network(torch.nn.Module, ABC):
    """A decoder-only language model that can be traced, and run as its authors wrote it."""

    facts: ModelFacts
    keys_hold_positions: bool = False
    """Whether dimensions of keys hold numbers that grow with the position, which few codes cannot tell apart."""

    @abstractmethod
    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention: Attention, start: torch.Tensor
    ) -> torch.Tensor:
        """Compute with the attention given.

        Args:
            input_ids: [B, S] int64.
            position_ids: [B, S] int64.
            attention: called once for each layer, in order.
            start: int64 [1], the negative of K: the logits of the last K positions are wanted.

        Returns:
            Logits [B, K, V] float32.
        """

    @abstractmethod
    def reference(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits [B, S, V] of whole sequences [B, S] by plain PyTorch attention, without a cache."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A loaded model. ``generation`` holds defaults under the names of `GenerationConfig`.

    ``tokenizer_files`` are texts by file name, of a tokenizer that lies in no directory of its own. ``eos_token_ids``
    are the model's, where no file says them. ``stored_bits`` is the size of the codes that most weights were stored in,
    if they can be kept as they were.
    """

    network: Network
    facts: SourceFacts
    generation: Mapping[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    tokenizer_files: Mapping[str, str] = field(default_factory=dict)
    eos_token_ids: tuple[int, ...] = ()
    stored_bits: Literal[4, 8] | None = None
