"""Modules of transformers as their equals of torch's own."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

_CLOSE = 1e-5


def simplify(model: nn.Module) -> None:
    """Replace modules that have an equal among torch's own, which trace to a single operator."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, Conv1D):
                setattr(parent, name, _linear(child))
            elif not list(child.parameters()) and _is_tanh_gelu(child):
                setattr(parent, name, nn.GELU(approximate="tanh"))


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
