"""Models of known shapes with random weights, as Hugging Face directories."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

Network = Mapping[str, Any]

SHAPES: Mapping[str, Network] = {
    "135M": {  # SmolLM2-135M
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "rope_theta": 100000.0,
    },
    "1B": {  # Llama-3.2-1B
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "rope_theta": 500000.0,
    },
}
TINY: Mapping[str, Network] = {
    name: {
        "hidden_size": 64 * heads,
        "intermediate_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "vocab_size": 2048,
        "rope_theta": 10000.0,
    }
    for name, heads in (("135M", 3), ("1B", 4))
}
"""For rehearsals."""
CONTEXT = {"135M": 4096, "1B": 2048}
"""Tokens of the window: where it is more than 2,048, caches on a card can grow."""


def complete(shape: Network, window: int) -> dict[str, Any]:
    """The whole configuration of a shape with a window."""
    theta = shape["rope_theta"]
    return {
        **shape,
        "head_dim": 64,
        "max_position_embeddings": window,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


def make_source(network: Network, folder: Path) -> Path:
    """Write a model of a whole configuration, in float16, with a tokenizer of as many tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**network)).half().save_pretrained(folder)
    tokenizer(network["vocab_size"]).save(str(folder / "tokenizer.json"))
    return folder


def tokenizer(vocab_size: int) -> Tokenizer:
    """One token for each byte, and others that no text has but the model may say."""
    pieces = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces += [f"w{number}" for number in range(vocab_size - len(pieces))]
    words = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return words
