"""Modules in memory as sources: of transformers, LLMBuilder's GPT, or any that follows `networks.protocol`.

What is exported is a copy in float32 on the CPU, which shares the weights that are so already; the module stays as it
is.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from llmbuilder.bundle.manifest import SourceFacts
from llmbuilder.errors import ExportError
from llmbuilder_export.judge import allowed_difference
from llmbuilder_export.networks.network import Network, Source
from llmbuilder_export.networks.protocol import ProtocolNetwork, lacking
from llmbuilder_export.sources.adapters import load_adapter
from llmbuilder_export.sources.files import shown
from llmbuilder_export.sources.huggingface import adapt, chat_template, generation_options
from llmbuilder_export.sources.llmbuilder import is_gpt, load_gpt
from llmbuilder_export.sources.lora import merge_adapter
from llmbuilder_export.sources.tokenizer import token_ids
from llmbuilder_export.sources.weights import refuse_broken_weights

_PAGE = "docs/guide/modules.md"
_COMPARED = 512
"""Tokens at most that a module computes in two ways, before it is exported."""


def load_module(
    module: nn.Module, tokenizer: Path, max_context: int | None = None, adapter: Path | None = None
) -> Source:
    """Load a module; it must not be trained while the source is in use.

    Args:
        module: the module, of any floating-point type, on any device, training or not.
        tokenizer: its tokenizer; if a directory, a chat template in it is the model's.
        max_context: most tokens of the window, if fewer than the module has.
        adapter: directory of a LoRA adapter to merge into a copy of a transformers model.

    Raises:
        ModelNotFoundError: there is no adapter.
        ExportError: it cannot be exported, and why.
    """
    source = _load(module, max_context, adapter)
    return replace(source, chat_template=chat_template(tokenizer)) if tokenizer.is_dir() else source


def _load(module: nn.Module, max_context: int | None, adapter: Path | None) -> Source:
    name = type(module).__name__
    merged = None if adapter is None else adapter.resolve().name
    facts = SourceFacts(kind="module", name=name, sha256=None, adapter=merged)
    missing = lacking(module)
    if missing and isinstance(module, PreTrainedModel):
        model = _copied(module, apart=adapter is not None)
        return _transformers(model, facts, max_context, adapter)
    if adapter is not None:
        raise ExportError(
            f"{name} is no model of transformers, into which alone adapters are merged. Merge it first."
        )
    own = _copied(module, apart=False)
    refuse_broken_weights(own, Path(name))
    if not missing:
        network = ProtocolNetwork(own, max_context)
        _compare(network, network.in_two)
        return Source(network=network, facts=facts)
    if is_gpt(own.state_dict()) and hasattr(own, "n_head"):
        checkpoint = {"model_state_dict": own.state_dict(), "model_config": {"num_heads": own.n_head}}
        gpt = load_gpt(checkpoint, Path(name), None, max_context)
        _compare(gpt, lambda ids: _logits(own(ids)))
        return Source(network=gpt, facts=facts)
    raise ExportError(
        f"{name} is neither a model of transformers nor LLMBuilder's GPT, and lacks {', '.join(missing)}. {_PAGE} "
        "shows what a module of any other kind must have. If it wraps a model, pass what it wraps; PEFT merges "
        "adapters by merge_and_unload()."
    )


def _transformers(
    model: PreTrainedModel, facts: SourceFacts, max_context: int | None, adapter: Path | None
) -> Source:
    if model.get_output_embeddings() is None:
        raise ExportError(
            f"{facts.name} has no output layer and writes no text. Pass a model such as AutoModelForCausalLM loads."
        )
    if adapter is not None:
        merge_adapter(model, load_adapter(adapter), Path(model.name_or_path or facts.name))
    refuse_broken_weights(model, Path(facts.name))
    defaults = model.generation_config.to_diff_dict() if model.generation_config is not None else {}
    return Source(
        network=adapt(model, max_context, f"{facts.name}.config"),
        facts=facts,
        generation=generation_options(defaults),
        eos_token_ids=token_ids(defaults.get("eos_token_id")),
    )


def _copied(module: nn.Module, *, apart: bool) -> Any:
    """A module that computes the same in float32, on the CPU and in evaluation mode.

    Args:
        module: the original.
        apart: whether its weights are to have memory of their own in any case.

    Raises:
        ExportError: it holds weights that are no floating-point numbers or not there, or cannot be copied.
    """
    known: dict[int, Any] = {}
    for name, weight in module.named_parameters():
        if weight.is_meta or not weight.is_floating_point():
            kind = "on no device" if weight.is_meta else str(weight.dtype).removeprefix("torch.")
            raise ExportError(
                f"{type(module).__name__} holds {shown(name)} {kind}: only floating-point weights can be exported. "
                "Load it whole, and from before it was quantized."
            )
        known[id(weight)] = nn.Parameter(_plain(weight, apart=apart), requires_grad=False)
    known |= {id(buffer): _plain(buffer, apart=True) for buffer in module.buffers()}
    try:
        copied: nn.Module = copy.deepcopy(module, known)
    except Exception as error:  # what modules keep besides weights may be anything
        raise ExportError(
            f"{type(module).__name__} cannot be copied ({error}). Keep in it what copy.deepcopy takes: tensors as "
            "parameters or buffers."
        ) from error
    return copied.eval()


def _plain(tensor: torch.Tensor, *, apart: bool) -> torch.Tensor:
    kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
    plain = tensor.detach().to("cpu", kind)
    return plain.clone() if apart and plain.data_ptr() == tensor.data_ptr() else plain


def _compare(network: Network, other: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Refuse a network whose logits are not those of another way to compute them.

    Raises:
        ExportError: they are not, or cannot be computed.
    """
    facts = network.facts
    length = min(_COMPARED, facts.context_length)
    ids = torch.randint(0, facts.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            ours, theirs = network.reference(ids), other(ids)
            difference = float((ours - theirs).abs().max())
    except Exception as error:  # code of anyone, which may raise anything
        raise ExportError(
            f"{facts.architecture} cannot compute {length} tokens ({error}). Correct its forward, or the window."
        ) from error
    if not difference <= allowed_difference(float(ours.abs().max())):
        raise ExportError(
            f"{facts.architecture} computes other logits by itself than with attention from outside: they differ by "
            f"{difference:.3g}. Let both use the same scale, window and positions ({_PAGE})."
        )


def _logits(output: Any) -> torch.Tensor:
    """What a model returns, without the loss beside it."""
    logits: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return logits
