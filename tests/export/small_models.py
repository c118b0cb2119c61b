"""Small LLMBuilder models as its packages store them."""

import torch

VOCABULARY, WIDTH, LAYERS, HEADS, WINDOW = 340, 32, 2, 4, 48


def gpt_state(
    *, vocabulary: int = VOCABULARY, width: int = WIDTH, layers: int = LAYERS, window: int = WINDOW
) -> dict[str, torch.Tensor]:
    """A state dict with upstream's names, shapes and buffers, and weights large enough to matter."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    state = {
        "token_embedding.weight": random(vocabulary, width),
        "position_embedding.weight": random(window, width),
    }
    for layer in range(layers):
        block = f"blocks.{layer}."
        state[f"{block}attn.causal_mask"] = torch.tril(torch.ones(window, window))[None, None]
        state[f"{block}attn.qkv_proj.weight"] = random(3 * width, width)
        shapes = {
            "attn.out_proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }
        for name, shape in shapes.items():
            state |= {f"{block}{name}.weight": random(*shape), f"{block}{name}.bias": random(shape[0])}
        for name in ("ln1", "ln2"):
            state |= {f"{block}{name}.weight": 1 + random(width), f"{block}{name}.bias": random(width)}
    state |= {"ln_f.weight": 1 + random(width), "ln_f.bias": random(width)}
    state["lm_head.weight"] = state["token_embedding.weight"]
    return state


def model_config(**changes: int) -> dict[str, object]:
    """What LLMBuilder 2.0.0 stores as ``model_config``."""
    config: dict[str, object] = {
        "vocab_size": VOCABULARY,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "embedding_dim": WIDTH,
        "max_seq_length": WINDOW,
        "dropout": 0.1,
        "model_type": "gpt",
    }
    return config | changes
