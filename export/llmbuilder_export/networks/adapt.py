"""Any causal language model of ``transformers`` as a `Network`.

Attention is handed in through transformers' own interface for it, and no mask or cache is made around it; all else
is traced as it is. Rotary positions become one operator where they are of the usual kind, which is tried out rather
than looked up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.errors import ExportError
from llmbuilder_export.networks.attention import cached, causal_attention, positions_from
from llmbuilder_export.networks.experts import Experts
from llmbuilder_export.networks.interface import IMPLEMENTATION, OTHERS, attending
from llmbuilder_export.networks.latent import joined_keys
from llmbuilder_export.networks.network import Attention, Heads, Network
from llmbuilder_export.networks.own import OwnAttention
from llmbuilder_export.networks.rotary import Rotary, find_rotary, rotating
from llmbuilder_export.networks.simplify import simplify


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
        self._experts = Experts(model)
        self._own = OwnAttention(model, context_length)
        self.keys_hold_positions = self._own.columns is not None
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
        self.model.set_attn_implementation(IMPLEMENTATION)
        with (
            attending(attention),
            rotating(self._rotary, position_ids),
            self._own.replaced(position_ids),
            self._experts.replaced(),
            joined_keys(self.model),
            _positions_from(self.model, start),
        ):
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
                    f"{_name(self.model)} does not attend once in each layer, in order. {OTHERS}"
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
            raise ExportError(f"{_name(self.model)} cannot be run for export: {error}. {OTHERS}") from error
        if len({(heads.count, heads.key_value_count, heads.size) for heads in seen}) != 1:
            raise ExportError(
                f"{_name(self.model)} computes attention in its own way, which bundles cannot express. {OTHERS}"
            )
        return seen, int(logits.shape[-1])


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


def _name(module: nn.Module) -> str:
    return type(module).__name__
