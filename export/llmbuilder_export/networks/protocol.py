"""Any module that takes its attention from outside as a `Network`.

The protocol, which ``docs/guide/modules.md`` explains: an attribute ``context_length``, the window in tokens, and
``forward(input_ids, position_ids=None, attention=None)``, which returns logits. Given an attention, forward calls it
once in each layer, as `LayerAttention` says; without one it computes as ever, which is what bundles are compared with.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol

import torch
from torch import nn

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.checks import is_whole
from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import cached, causal_attention, positions_from
from llmbuilder_export.networks.interface import attended, attending
from llmbuilder_export.networks.network import Attention, Heads, Network

WINDOW = "context_length"
_INPUTS = ("position_ids", "attention")


class LayerAttention(Protocol):
    """Causal attention of a module's next layer over all tokens so far."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Attend.

        Args:
            query: [B, heads, S, size].
            key: [B, key heads, S, size]; each key head serves as many neighbouring heads of the queries.
            value: as ``key``, of any size.
            scale: what scores are multiplied by; None: size ** -0.5.
            window: how many of the last tokens are seen, the current one included; None: all.
            softcap: scores become ``softcap * tanh(scores / softcap)``.

        Returns:
            [B, heads, S, size of the values].
        """
        ...


def lacking(module: nn.Module) -> list[str]:
    """What a module lacks to follow the protocol, in words."""
    taken = inspect.signature(module.forward).parameters
    missing = [f"a parameter {name} of forward" for name in _INPUTS if name not in taken]
    return missing if hasattr(module, WINDOW) else [*missing, f"an attribute {WINDOW}"]


class ProtocolNetwork(Network):
    """A module that follows the protocol, with its own attention as reference."""

    def __init__(self, module: nn.Module, max_context: int | None = None) -> None:
        """Take ``module``, in float32, on the CPU and in evaluation mode; it stays as it is.

        Args:
            module: the module.
            max_context: most tokens of the window, if fewer than the module has.

        Raises:
            ExportError: it does not do what the protocol says.
        """
        super().__init__()
        self.module = module
        self.name = type(module).__name__
        window: int = getattr(module, WINDOW)
        if not _is_window(window):
            raise ExportError(f"{self.name}.{WINDOW} must be a number of tokens, at least 2, got {window!r}.")
        self._head: nn.Module | None = None
        heads, vocab_size = self._try()
        self.facts = ModelFacts(
            architecture=self.name,
            vocab_size=vocab_size,
            context_length=min(window, max_context or window),
            hidden_size=heads[0].count * heads[0].size,
            num_attention_heads=heads[0].count,
            parameters=sum(weight.numel() for weight in module.parameters()),
            layers=tuple(map(cached, heads)),
        )

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention: Attention, start: torch.Tensor
    ) -> torch.Tensor:
        """Compute logits [B, K, V]; see `Network.forward`."""
        if self._head is None:
            return positions_from(self.attending(input_ids, position_ids, attention), start)
        with _before(self._head, lambda _, inputs: (positions_from(inputs[0], start),)):
            return self.attending(input_ids, position_ids, attention)

    def reference(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Compute logits [B, S, V] as the module does by itself."""
        logits: torch.Tensor = self.module(input_ids)
        return logits

    def attending(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention: Attention
    ) -> torch.Tensor:
        """Compute logits [B, S, V] of tokens at these positions [B, S] with the attention given."""
        layers = count()

        def attend(
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            *,
            scale: float | None = None,
            window: int | None = None,
            softcap: float | None = None,
        ) -> torch.Tensor:
            return attended(next(layers), query, key, value, scale, window, softcap).transpose(1, 2)

        with attending(attention):
            logits: torch.Tensor = self.module(input_ids, position_ids=position_ids, attention=attend)
        return logits

    def in_two(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits [B, S, V] with plain attention from outside, the second half after the first, as a cache has it."""
        past: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

        def attend(
            layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
        ) -> torch.Tensor:
            if layer in past:
                key, value = (
                    torch.cat(parts, dim=1) for parts in zip(past[layer], (key, value), strict=True)
                )
            past[layer] = key, value
            return causal_attention(layer, query, key, value, heads)

        positions = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        halves = zip(input_ids.chunk(2, dim=1), positions.chunk(2, dim=1), strict=True)
        return torch.cat([self.attending(ids, at, attend) for ids, at in halves], dim=1)

    def _try(self) -> tuple[list[Heads], int]:
        """Run two tokens; return each layer's heads and the size of the vocabulary, and find the last layer."""
        seen: list[Heads] = []
        outputs: list[tuple[nn.Module, object]] = []

        def attend(
            layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
        ) -> torch.Tensor:
            seen.append(heads)
            return causal_attention(layer, query, key, value, heads)

        hooks = [
            each.register_forward_hook(lambda module, _, output: outputs.append((module, output)))
            for each in self.module.modules()
            if isinstance(each, nn.Linear)
        ]
        ids = torch.zeros(1, 2, dtype=torch.int64)
        try:
            with torch.inference_mode():
                logits = self.attending(ids, torch.arange(2)[None], attend)
        except Exception as error:  # code of anyone, which may raise anything
            raise ExportError(
                f"{self.name} cannot be run with an attention from outside: {error}. Correct its forward."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        self._check(seen, logits)
        self._head = next((module for module, output in outputs if output is logits), None)
        return seen, int(logits.shape[-1])

    def _check(self, seen: list[Heads], logits: object) -> None:
        if not isinstance(logits, torch.Tensor) or logits.ndim != 3 or logits.shape[:2] != (1, 2):
            shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ExportError(
                f"{self.name} must return logits [B, S, V] when it is given an attention; of two tokens it returned "
                f"{shape}."
            )
        if not seen:
            raise ExportError(
                f"{self.name} does not call the attention that it is given. Call it in each layer."
            )
        if len({(heads.count, heads.key_value_count, heads.size) for heads in seen}) != 1:
            raise ExportError(
                f"{self.name} has layers with heads of different numbers or sizes, which cannot be exported."
            )


def _is_window(value: object) -> bool:
    return is_whole(value, 2)


@contextmanager
def _before(module: nn.Module, hook: Any) -> Iterator[None]:
    """Change what a module gets for a while."""
    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
