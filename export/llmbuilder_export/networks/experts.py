"""Mixtures of experts as one operator, in which no row depends on the others that are computed with it.

ONNX Runtime's operator chooses experts itself and sums up what they give in an order that depends on the other rows.
So each token is handed to it once for each of its experts, with that one alone to choose. Sums stay outside.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.onnx.ops import symbolic
from transformers import PreTrainedModel

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.refusals import family_of, refusal

try:
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
except ImportError:  # of transformers 4
    ALL_EXPERTS_FUNCTIONS = None

TRANSPOSED = "transposed"
"""Attribute of a traced node whose weights are [experts, inputs, outputs]; bundles have none such."""
SIDE_BY_SIDE, INTERLEAVED = 2, 1
"""``swiglu_fusion``: how the gates of an expert and what they are multiplied with lie in its first weight."""

_IMPLEMENTATION = "llmbuilder_export"
_CLOSE = 1e-5
_Gate = dict[str, int | float]
_Option = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
_Options = dict[str, _Option]
_gates: ContextVar[Mapping[nn.Module, _Gate]] = ContextVar("gates")


class Experts:
    """The mixtures of experts of a model; of any other, nothing."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Find out how the operator is told to compute each of them.

        Raises:
            ExportError: it does not compute such experts.
        """
        if ALL_EXPERTS_FUNCTIONS is None and any(
            "experts" in name.split(".") for name, _ in model.named_modules()
        ):
            raise ExportError(
                f"{family_of(model)} is a mixture of experts, which only transformers 5 or newer can hand over. "
                "Install it: pip install -U transformers"
            )
        self._model = model
        found = [module for module in model.modules() if hasattr(module, "is_concatenated")]
        self._gates = {module: _gate(module, family_of(model)) for module in found}

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Compute them by `mixture` for a while, instead of as their authors wrote it."""
        if not self._gates:
            yield
            return
        token = _gates.set(self._gates)
        self._model.set_experts_implementation(_IMPLEMENTATION)
        try:
            yield
        finally:
            self._model.set_experts_implementation("eager")
            _gates.reset(token)


def mixture(
    module: nn.Module, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Experts as transformers calls them: [T, width], and experts and their weights [T, k] of each token.

    Traces to ``com.microsoft::MoE``, whose weights `llmbuilder_export.experts` brings into its order.
    """
    experts: Any = module
    attributes: _Options = {"k": 1, "activation_type": "swiglu", "normalize_routing_weights": 1}
    attributes |= _gates.get()[module]
    tokens, width = hidden_states.shape
    chosen = top_k_index.shape[1]
    rows = hidden_states[:, None].expand(-1, chosen, -1).reshape(-1, width)
    choice = (top_k_index.reshape(-1, 1) == torch.arange(experts.num_experts)).to(rows.dtype)
    biases = (experts.gate_up_proj_bias, experts.down_proj_bias) if experts.has_bias else (None, None)
    computed = symbolic(
        "com.microsoft::MoE",
        [rows, choice, experts.gate_up_proj, biases[0], experts.down_proj, biases[1]],
        attributes,
        dtype=rows.dtype,
        shape=rows.shape,
        version=1,
    )
    if experts.has_post_expert_norm:
        computed = experts.post_expert_norm(computed)
    # As a small product for each token: a sum would be computed in another order where there is one token only.
    weights = top_k_weights.to(rows.dtype).reshape(tokens, 1, chosen)
    return (weights @ computed.reshape(tokens, chosen, width)).squeeze(1)


if ALL_EXPERTS_FUNCTIONS is not None:
    ALL_EXPERTS_FUNCTIONS.register(_IMPLEMENTATION, mixture)


def _gate(experts: Any, family: str) -> _Gate:
    """The attributes with which the operator computes what lies between the two products of an expert."""
    if experts.has_gate:
        x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 5
        half = x.shape[1] // 2
        gates, others = (x[:, :half], x[:, half:]) if experts.is_concatenated else (x[:, ::2], x[:, 1::2])
        expected = experts._apply_gate(x)  # noqa: SLF001 (the name that transformers gives it)
        for gate in _known_gates(experts):
            if torch.allclose(_gated(gates, others, gate), expected, atol=_CLOSE):
                fusion = SIDE_BY_SIDE if experts.is_concatenated else INTERLEAVED
                return gate | {"swiglu_fusion": fusion, TRANSPOSED: int(experts.is_transposed)}
    raise refusal(
        family,
        "it has experts of a kind that ONNX Runtime does not compute: only those with a gate that goes through SiLU",
    )


def _known_gates(experts: Any) -> Iterator[_Gate]:
    """SwiGLU (Shazeer 2020) as it is, and as gpt-oss has it."""
    yield {"activation_alpha": 1.0, "activation_beta": 0.0}
    alpha, limit = getattr(experts, "alpha", None), getattr(experts, "limit", None)
    if isinstance(alpha, float) and isinstance(limit, float):
        yield {"activation_alpha": alpha, "activation_beta": 1.0, "swiglu_limit": limit}


def _gated(gate: torch.Tensor, up: torch.Tensor, options: _Gate) -> torch.Tensor:
    """What the operator computes by its documentation."""
    if (limit := options.get("swiglu_limit")) is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate * torch.sigmoid(options["activation_alpha"] * gate) * (up + options["activation_beta"])
