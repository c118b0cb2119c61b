"""SmolLM2 computing no sequence twice: most configurations explore the same hypotheses."""

from typing import NamedTuple, Optional

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutput


class Known(NamedTuple):
    """The last hidden state [H] of a sequence; keys and values [layers, 2, Hkv, n, D] of what it adds to another."""

    hidden: torch.Tensor
    added: torch.Tensor
    beginning: Optional["Known"]

    def past(self) -> torch.Tensor:
        """Keys and values of the whole sequence."""
        parts, known = [], self
        while known is not None:
            parts.append(known.added)
            known = known.beginning
        return torch.cat(parts[::-1], dim=3)


class RememberingLlama(LlamaForCausalLM):
    """Generates with ``use_cache=False``, which hands it whole sequences; what it knows of them is its cache."""

    def __init__(self, config: LlamaConfig) -> None:
        """Know nothing."""
        super().__init__(config)
        self.known: dict[tuple[int, ...], Known] = {}

    def forward(self, input_ids: torch.Tensor, **_: object) -> CausalLMOutput:
        """Logits [B, 1, V] after ids [B, S]."""
        rows = [tuple(row) for row in input_ids.tolist()]
        new = [row for row in dict.fromkeys(rows) if row not in self.known]
        if new:
            self.learn(new)
        hidden = torch.stack([self.known[row].hidden for row in rows])
        return CausalLMOutput(logits=self.lm_head(hidden)[:, None])

    def learn(self, rows: list[tuple[int, ...]]) -> None:
        """Compute sequences of one length, from what is known of all their tokens but the last."""
        beginnings = [self.known.get(row[:-1]) for row in rows]
        if None in beginnings:
            past, start = None, 0
        else:
            stacked = torch.stack([beginning.past() for beginning in beginnings], dim=2)
            past = DynamicCache.from_legacy_cache(tuple((keys, values) for keys, values in stacked))
            start = stacked.shape[-2]
        ids = torch.tensor([row[start:] for row in rows])
        output = self.model(ids, past_key_values=past, use_cache=True)
        layers = output.past_key_values
        cache = torch.stack([torch.stack(layers[layer]) for layer in range(len(layers))])[..., start:, :]
        for index, row in enumerate(rows):
            beginning = beginnings[index] if past is not None else None
            added = cache[:, :, index].clone()
            self.known[row] = Known(output.last_hidden_state[index, -1].clone(), added, beginning)
