"""LLMBuilder checkpoints of versions 1.0.3 and 2.0.0: final models, training and fine-tuning checkpoints."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from llmbuilder.bundle.manifest import LayerCache, ModelFacts, SourceFacts
from llmbuilder.errors import ExportError
from llmbuilder.userdata import file_sha256
from llmbuilder_export.networks.attention import cached_size
from llmbuilder_export.networks.gpt import GPT
from llmbuilder_export.networks.network import Source
from llmbuilder_export.sources.checkpoint import State, find_state, merge_lora, read_checkpoint

_NAMES = {
    "vocab_size": ("vocab_size",),
    "num_layers": ("num_layers", "n_layer"),
    "num_heads": ("num_heads", "n_head"),
    "embedding_dim": ("embedding_dim", "n_embd"),
    "max_seq_length": ("max_seq_length", "block_size"),
}
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_TOKENS = "token_embedding.weight"
_POSITIONS = "position_embedding.weight"
_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class _Shape:
    """Sizes of the network, by the names LLMBuilder gives them."""

    vocab_size: int
    num_layers: int
    embedding_dim: int
    max_seq_length: int


def load_llmbuilder(path: Path, config: Path | None = None, max_context: int | None = None) -> Source:
    """Load a checkpoint file.

    Args:
        path: the ``.pt`` file.
        config: JSON file with (at least) ``num_heads``, for checkpoints that do not hold it.
        max_context: most tokens of the window; later positions are left out.

    Raises:
        ModelNotFoundError: there is no such file.
        ExportError: it cannot be read, or lacks weights or the number of heads.
    """
    checkpoint = read_checkpoint(path)
    if _is_nanogpt(checkpoint) and config is None:
        from llmbuilder_export.sources.nanogpt import load_nanogpt

        return load_nanogpt(checkpoint, path, max_context)
    return Source(
        network=load_gpt(checkpoint, path, config, max_context),
        facts=SourceFacts(kind="llmbuilder", name=path.name, sha256=file_sha256(path)),
    )


def is_gpt(state: Mapping[str, object]) -> bool:
    """Whether weights have the names of LLMBuilder's GPT."""
    return {_TOKENS, _POSITIONS} <= set(state) and any(map(_BLOCK.match, state))


def load_gpt(checkpoint: Mapping[str, Any], path: Path, config: Path | None, max_context: int | None) -> GPT:
    """Build the network of what `read_checkpoint` read; see `load_llmbuilder`."""
    state = merge_lora(find_state(checkpoint, path), checkpoint, path)
    options = _read_config(config) if config else _find_config(checkpoint)
    shape = _measure(state, path)
    _check_config(options, shape, config or path)
    heads = _heads(options, shape, path)
    if max_context is not None:
        state[_POSITIONS] = state[_POSITIONS][:max_context]
        shape = replace(shape, max_seq_length=min(max_context, shape.max_seq_length))
    tied = _HEAD not in state or torch.equal(state[_HEAD], state[_TOKENS])
    if tied:
        state.pop(_HEAD, None)
    return _build(state, shape, heads, path, tied=tied)


def _is_nanogpt(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has the form that nanoGPT's ``train.py`` writes."""
    return all(isinstance(checkpoint.get(name), Mapping) for name in ("model", "model_args"))


def _measure(state: State, path: Path) -> _Shape:
    """Read the sizes off the weights; what a configuration says may be anything.

    Raises:
        ExportError: the weights that tell them are not there.
    """
    tokens, positions = state.get(_TOKENS), state.get(_POSITIONS)
    sizes = {
        "vocab_size": _size(tokens, 0),
        "num_layers": len({match[1] for name in state if (match := _BLOCK.match(name))}),
        "embedding_dim": _size(tokens, 1),
        "max_seq_length": _size(positions, 0),
    }
    told = {name: size for name, size in sizes.items() if size}
    if unknown := sorted(set(sizes) - set(told)):
        raise ExportError(
            f"{path} is not an LLMBuilder GPT: {_TOKENS}, {_POSITIONS} and blocks.* do not tell its "
            f"{', '.join(unknown)}. It holds {', '.join(list(state)[:5])} ... "
            "Pass a checkpoint that LLMBuilder trained."
        )
    return _Shape(**told)


def _size(weight: torch.Tensor | None, dimension: int) -> int | None:
    return weight.shape[dimension] if weight is not None and weight.ndim == 2 else None


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(
            f"The config file {path} cannot be read as JSON: {error}. Correct it, or pass another with --config."
        ) from error
    options = _model_options(content)
    if options is None:
        raise ExportError(f'The config file {path} must hold an object such as {{"num_heads": 8}}.')
    return options


def _find_config(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model's options, wherever this version of LLMBuilder put them; empty if nowhere."""
    metadata = checkpoint.get("metadata")
    places = [checkpoint.get("model_config"), checkpoint.get("config"), metadata]
    if isinstance(metadata, Mapping):
        places.append(metadata.get("config"))
    for place in places:
        options = _model_options(place)
        if options is not None and _lookup(options, "num_heads") is not None:
            return options
    return {}


def _model_options(place: object) -> Mapping[str, Any] | None:
    if not isinstance(place, Mapping):
        return None
    nested = place.get("model")
    return nested if isinstance(nested, Mapping) else place


def _lookup(options: Mapping[str, Any], name: str) -> int | None:
    for alias in _NAMES[name]:
        value = options.get(alias)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _check_config(options: Mapping[str, Any], shape: _Shape, origin: Path) -> None:
    """Refuse options that contradict the weights."""
    wrong = []
    for name in _NAMES:
        stated, measured = _lookup(options, name), getattr(shape, name, None)
        if stated is not None and measured is not None and stated != measured:
            wrong.append(f"{name} is {stated} but the weights have {measured}")
    if wrong:
        raise ExportError(
            f"The configuration in {origin} does not belong to the weights: {'; '.join(wrong)}. "
            "Pass the model's own with --config."
        )


def _heads(options: Mapping[str, Any], shape: _Shape, path: Path) -> int:
    heads = _lookup(options, "num_heads")
    if heads is None:
        raise ExportError(
            f"{path} does not say how many attention heads the model has, and weights cannot tell "
            "(fine-tuning checkpoints lack it). Pass --config FILE with the model's configuration, "
            'for example {"num_heads": 8}.'
        )
    if heads < 1 or shape.embedding_dim % heads:
        raise ExportError(
            f"{heads} attention heads do not divide the embedding of {shape.embedding_dim} in {path}. "
            "Pass the right number with --config FILE."
        )
    return heads


def _build(state: State, shape: _Shape, heads: int, path: Path, *, tied: bool) -> GPT:
    size = cached_size(shape.embedding_dim // heads)
    facts = ModelFacts(
        architecture="llmbuilder-gpt",
        vocab_size=shape.vocab_size,
        context_length=shape.max_seq_length,
        hidden_size=shape.embedding_dim,
        num_attention_heads=heads,
        parameters=sum(weight.numel() for weight in state.values()),
        layers=(LayerCache(heads=heads, key_size=size, value_size=size),) * shape.num_layers,
    )
    with torch.device("meta"):
        network = GPT(facts, tied=tied)
    if problems := list(_differences(network.state_dict(), state)):
        raise ExportError(
            f"{path} does not hold the weights of an LLMBuilder GPT: {'; '.join(problems)}. "
            "Pass a checkpoint as LLMBuilder saved it."
        )
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _differences(expected: Mapping[str, torch.Tensor], state: State) -> Iterator[str]:
    """Every missing, unknown or misshapen weight."""
    if missing := [name for name in expected if name not in state]:
        yield f"missing {', '.join(missing)}"
    if unknown := [name for name in state if name not in expected]:
        yield f"unknown {', '.join(unknown)}"
    for name, weight in expected.items():
        if name in state and state[name].shape != weight.shape:
            yield f"{name} has shape {list(state[name].shape)} instead of {list(weight.shape)}"
