"""Merge a LoRA adapter into the model it was trained on (Hu et al. 2021), in float32, DoRA (Liu et al. 2024) included.

A layer that computed ``x W'`` computes ``x (W' + scaling (B A)')`` afterwards, as PEFT does with both side by side.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import regex
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.adapters import CONFIG_NAME, Adapter
from llmbuilder_export.sources.files import listed, read_json, shown

_PREFIX = "base_model.model."
_PART = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\.weight)?")
_WRAPPERS = (".base_layer.", ".modules_to_save.")
_QUANTIZED = re.compile(r"[.-]((I?Q|TQ)\d\w*|B?F16|F32)$", re.IGNORECASE)
"""What names of GGUF files say of their weights: ``model-Q4_K_M``, ``model.Q8_0``."""
_PLAIN_NAME = re.compile(r"[\w.]*")
_PATIENCE = 5.0
"""Seconds that all patterns of an adapter may take together."""
_AGAIN = "Get the whole adapter again."


@dataclass
class _Layer:
    """The parts of one layer's adapter, by what stands behind ``lora_`` in their names."""

    name: str
    parts: dict[str, torch.Tensor]


def merge_adapter(model: PreTrainedModel, adapter: Adapter, base: Path) -> None:
    """Merge ``adapter`` into ``model`` in place.

    Weights that layers share are parted where only one of them is adapted.

    Args:
        model: the base, in float32.
        adapter: what `load_adapter` read.
        base: where the base was loaded from, for messages.

    Raises:
        ExportError: the adapter does not belong to the base, or is not whole.
    """
    _check_base(adapter, base)
    layers, others = _sort(adapter)
    _check_whole(adapter, layers, others, model, base)
    for name, weight in others.items():
        _replace(model, adapter, name, weight, base)
    scalings = _Scalings(adapter)
    for layer in layers:
        _merge(model, adapter, layer, scalings(layer.name))


def _check_base(adapter: Adapter, base: Path) -> None:
    """Refuse a base of another name than the adapter says; shapes alone cannot tell a model from its siblings."""
    wanted = _last(adapter.base)
    place = base.resolve()
    names = {
        place.name,
        place.stem,
        _QUANTIZED.sub("", place.stem),
        _last(str(read_json(base / "config.json").get("_name_or_path", ""))),
    }
    names |= {part.rpartition("--")[2] for part in place.parts if part.startswith("models--")}
    if wanted and wanted.casefold() not in {name.casefold() for name in names}:
        raise ExportError(
            f"{adapter.path} is an adapter for {shown(adapter.base)}, not for {base}. Pass that model; if this is it "
            f"under another name, write its name as base_model_name_or_path into {adapter.path / CONFIG_NAME}."
        )


def _last(path: str) -> str:
    """The last name of a path of any system, or of a model on the Hub."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2].strip(".")


def _sort(adapter: Adapter) -> tuple[list[_Layer], dict[str, torch.Tensor]]:
    """Layers with the parts of their adapters, and weights that replace those of the base, by their names there."""
    layers: dict[str, _Layer] = {}
    others = {}
    for stored, weight in adapter.weights.items():
        name = stored.removeprefix(_PREFIX)
        if name == stored:
            raise ExportError(
                f"{adapter.path} holds {shown(stored)}, which is no weight of a LoRA adapter. {_AGAIN}"
            )
        if match := _PART.fullmatch(name):
            layers.setdefault(match[1], _Layer(match[1], {})).parts[match[2]] = weight
            continue
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, ".")
        others[name] = weight
    return list(layers.values()), others


def _check_whole(
    adapter: Adapter,
    layers: list[_Layer],
    others: Mapping[str, torch.Tensor],
    model: PreTrainedModel,
    base: Path,
) -> None:
    """Refuse an adapter of which something belongs nowhere, or something is missing."""
    modules = dict(model.named_modules())
    adapted = {layer.name for layer in layers}
    if unknown := adapted - set(modules):
        raise ExportError(
            f"{adapter.path} adapts {listed(unknown)}, which {base} does not have. "
            f"Pass the model that it was trained on ({shown(adapter.base) or 'it does not say which'})."
        )
    if not adapted:
        raise ExportError(f"{adapter.path} holds no LoRA weights. {_AGAIN}")
    missing = {name for name, module in modules.items() if _is_targeted(name, module, adapter)} - adapted
    held = [name.rpartition(".")[0] for name in others]
    missing |= {
        name for name in adapter.options.modules_to_save if not any(f"{name}." in f"{n}." for n in held)
    }
    if missing:
        raise ExportError(
            f"{adapter.path} lacks the weights of {listed(missing)}, which it is said to adapt. {_AGAIN}"
        )


def _is_targeted(name: str, module: nn.Module, adapter: Adapter) -> bool:
    """Whether the options name this module; of patterns and exceptions nothing is said."""
    options = adapter.options
    if isinstance(options.target_modules, str) or options.exclude_modules or options.layers_to_transform:
        return False
    if not isinstance(module, nn.Linear | nn.Embedding | Conv1D):
        return False
    return any(_ends(name, target) for target in options.target_modules) and not _is_saved(name, adapter)


def _is_saved(name: str, adapter: Adapter) -> bool:
    """Whether a module, or one that it is part of, is among those that were trained as a whole.

    PEFT takes all whose names end so, even in the middle of a word: ``norm`` is also ``input_layernorm``.
    """
    return any(f"{saved}." in f"{name}." for saved in adapter.options.modules_to_save)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _replace(model: PreTrainedModel, adapter: Adapter, name: str, weight: torch.Tensor, base: Path) -> None:
    """Put a weight that the adapter holds whole in the place of the base's."""
    path, _, attribute = name.rpartition(".")
    module = dict(model.named_modules()).get(path)
    ours = getattr(module, attribute, None)
    if module is None or not isinstance(ours, nn.Parameter):
        raise ExportError(f"{adapter.path} holds {shown(name)}, which {base} does not have. {_AGAIN}")
    if ours.shape != weight.shape:
        raise ExportError(
            f"{adapter.path} holds {name} of shape {list(weight.shape)}, {base} has {list(ours.shape)}. "
            "Pass the model that it was trained on, with its tokens added if some were."
        )
    if _is_saved(path, adapter) or (attribute == "bias" and adapter.options.bias != "none"):
        setattr(module, attribute, nn.Parameter(weight, requires_grad=False))
    elif module in (model.get_input_embeddings(), model.get_output_embeddings()):
        ours.data.copy_(weight)  # the base's own, saved beside the adapter: what is tied to it follows
    else:
        raise ExportError(
            f"{adapter.path} holds {shown(name)}, which its {CONFIG_NAME} does not say to replace. {_AGAIN}"
        )


def _merge(
    model: PreTrainedModel, adapter: Adapter, layer: _Layer, rank_and_scaling: tuple[int, float]
) -> None:
    """Add the product of a layer's two matrices to its weight; what shares that weight keeps the old one."""
    module = model.get_submodule(layer.name)
    if not isinstance(module, nn.Linear | nn.Embedding | Conv1D):
        raise ExportError(
            f"{adapter.path} adapts {layer.name}, a {type(module).__name__}, which cannot be merged here. "
            "Merge it with PEFT (merge_and_unload), save_pretrained the result, and export that."
        )
    turned = not isinstance(module, nn.Linear)
    weight = module.weight.data.T if turned else module.weight.data
    rank, scaling = rank_and_scaling
    down, up, magnitude = _parts(adapter, layer, embedding=isinstance(module, nn.Embedding))
    if down.shape != (rank, weight.shape[1]) or up.shape != (weight.shape[0], rank):
        raise ExportError(
            f"{adapter.path} adapts {layer.name} with matrices of shapes {list(down.shape)} and {list(up.shape)}; "
            f"rank {rank} and the base need {[rank, weight.shape[1]]} and {[weight.shape[0], rank]}. "
            "Pass the model that it was trained on."
        )
    merged = torch.addmm(weight, up, down, alpha=scaling)
    if magnitude is not None:
        if magnitude.numel() != len(merged):
            raise ExportError(f"{adapter.path} has a magnitude of {layer.name} of the wrong size. {_AGAIN}")
        merged *= (magnitude.flatten() / torch.linalg.vector_norm(merged, dim=1))[:, None]
    merged = merged.T.contiguous() if turned else merged
    module.weight = nn.Parameter(merged, requires_grad=False)


def _parts(
    adapter: Adapter, layer: _Layer, *, embedding: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The matrices A and B, and DoRA's magnitude."""
    wanted = ["embedding_A", "embedding_B"] if embedding else ["A", "B"]
    if adapter.options.use_dora:
        if embedding:
            raise ExportError(
                f"{adapter.path} adapts {layer.name}, an embedding, by DoRA, which cannot be merged here. "
                "Merge it with PEFT (merge_and_unload), save_pretrained the result, and export that."
            )
        wanted.append("magnitude_vector")
    if set(layer.parts) != set(wanted):
        raise ExportError(
            f"{adapter.path} holds {listed(layer.parts)} for {layer.name}, instead of {listed(wanted)}. {_AGAIN}"
        )
    down, up, magnitude = (*(layer.parts[name] for name in wanted), None)[:3]
    assert down is not None  # noqa: S101 (for mypy)
    assert up is not None  # noqa: S101
    return down, up, magnitude


class _Scalings:
    """Rank and scaling of each layer, where patterns may say others than the adapter's own."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._deadline = time.monotonic() + _PATIENCE

    def __call__(self, name: str) -> tuple[int, float]:
        options = self._adapter.options
        rank = int(next(self._matching(options.rank_pattern, name), options.r))
        alpha = next(self._matching(options.alpha_pattern, name), options.lora_alpha)
        return rank, options.scaling(rank, alpha)

    def _matching(self, patterns: Mapping[str, float], name: str) -> Iterator[float]:
        return (value for pattern, value in patterns.items() if self._matches(pattern, name))

    def _matches(self, pattern: str, name: str) -> bool:
        """Whether a name ends as the pattern says, by PEFT's rule."""
        if _PLAIN_NAME.fullmatch(pattern):
            return _ends(name, pattern)
        left = max(self._deadline - time.monotonic(), 0.001)
        try:
            return regex.match(rf"(.*\.)?({pattern})$", name, timeout=left) is not None
        except (regex.error, TimeoutError) as error:
            raise ExportError(
                f"{self._adapter.path / CONFIG_NAME} has the pattern {shown(pattern)}, which cannot be used "
                f"({error or 'it takes too long'}). Write the layers' names there."
            ) from error
