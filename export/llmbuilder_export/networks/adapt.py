"""Any causal language model of ``transformers`` as a `Network`.

Attention is handed in through transformers' own interface for it, and no mask or cache is made around it; all else
is traced as it is. Rotary positions become one operator where they are of the usual kind, which is tried out rather
than looked up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import DynamicCache, PreTrainedModel

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder_export.judge import allowed_difference
from llmbuilder_export.networks.attention import cached, causal_attention, positions_from
from llmbuilder_export.networks.experts import Experts
from llmbuilder_export.networks.interface import IMPLEMENTATION, attending
from llmbuilder_export.networks.latent import joined_keys
from llmbuilder_export.networks.network import Attention, Heads, Network
from llmbuilder_export.networks.own import OwnAttention
from llmbuilder_export.networks.refusals import WITHOUT_CACHE, family_of, in_a_sentence, refusal
from llmbuilder_export.networks.rotary import Rotary, find_rotary, rotating
from llmbuilder_export.networks.simplify import simplify


class AdaptedNetwork(Network):
    """A transformers model with attention from outside, and with its own attention as reference."""

    def __init__(self, model: PreTrainedModel, context_length: int) -> None:
        """Adapt ``model`` in place.

        Args:
            model: the model, in float32 and evaluation mode.
            context_length: tokens of the window; fewer where transformers' cache forgets what attention would see.

        Raises:
            ExportError: the model attends in a way that a bundle cannot express.
        """
        super().__init__()
        family = family_of(model)
        self.model = model
        self._rotary: Rotary | None = None
        with in_a_sentence(family, "its modules are not put together as others are"):
            simplify(model)
            self._experts = Experts(model)
            self._own = OwnAttention(model, context_length)
        self.keys_hold_positions = self._own.columns is not None
        with in_a_sentence(
            family, "its code does not run with the attention of a bundle in the place of its own"
        ):
            heads, vocab_size = self._try()
        with in_a_sentence(family, WITHOUT_CACHE):
            self._refuse_sight()
        context_length = min([context_length, *_forgotten(model, heads)])
        self.facts = ModelFacts(
            architecture=family,
            vocab_size=vocab_size,
            context_length=context_length,
            hidden_size=model.get_input_embeddings().weight.shape[1],
            num_attention_heads=heads[0].count,
            parameters=sum(weight.numel() for weight in model.parameters()),
            layers=tuple(map(cached, heads)),
        )
        with in_a_sentence(family, "what it rotates positions by cannot be tabulated"):
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
            ExportError: its layers do not all attend alike.
        """
        family = family_of(self.model)
        seen: list[Heads] = []

        def attend(
            layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: Heads
        ) -> torch.Tensor:
            if layer != len(seen):
                raise refusal(
                    family,
                    "its layers do not each attend once, in order, and a bundle has one cache for each",
                )
            seen.append(heads)
            return causal_attention(layer, query, key, value, heads)

        ids = torch.zeros(1, 2, dtype=torch.int64)
        with torch.inference_mode():
            logits = self(ids, torch.arange(2)[None], attend, torch.tensor([-2]))
        if not seen:
            raise refusal(family, "its attention is code of its own, in whose place a bundle's cannot be put")
        if len({(heads.count, heads.key_value_count, heads.size) for heads in seen}) != 1:
            raise refusal(
                family, "its layers have heads of different numbers or sizes, which bundles cannot express"
            )
        return seen, int(logits.shape[-1])

    def _refuse_sight(self) -> None:
        """Refuse a model in which a token changes what those before it give."""
        with torch.inference_mode():
            first, second = self.reference(torch.tensor([[0, 0], [0, 1]]))[:, 0]
        if float((first - second).abs().max()) > allowed_difference(float(first.abs().max())):
            raise refusal(
                family_of(self.model),
                "it reads a text in both directions, so that each further token would change what came before",
            )


def _forgotten(model: PreTrainedModel, heads: list[Heads]) -> list[int]:
    """Tokens after which transformers' cache forgets the first ones of a layer that attends to all there are.

    Beyond them a model such as Moshi computes one thing with its cache, and another without.
    """
    layers = DynamicCache(config=model.config).layers
    if len(layers) != len(heads):
        return []
    windows = [getattr(layer, "sliding_window", None) for layer in layers]
    return [window for window, seen in zip(windows, heads, strict=True) if window and seen.window is None]


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
