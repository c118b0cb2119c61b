"""LoRA adapters as PEFT saves them: their options, looked at one by one, and their weights.

Whatever an option changes in what is computed is done here as PEFT does it, or refused by its name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from llmbuilder.checks import is_whole
from llmbuilder.errors import ExportError, ModelNotFoundError
from llmbuilder_export.sources.checkpoint import find_state, read_checkpoint
from llmbuilder_export.sources.files import listed, read_json, refuse_special, shown
from llmbuilder_export.sources.weights import stored_in

CONFIG_NAME = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_NONE = "none"
_BIASES = (_NONE, "all", "lora_only")
_BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal")
"""How training may have begun, if it left the base as it was."""
_OF_TRAINING = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "fan_in_fan_out",  # follows from the kind of the layer, in PEFT too
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    }
)
_AGAIN = "Get the whole adapter again."


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """What ``adapter_config.json`` says of how the weights are to be used."""

    r: int = 8
    lora_alpha: float = 8
    rank_pattern: Mapping[str, float] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    bias: str = _NONE
    modules_to_save: tuple[str, ...] = ()
    target_modules: tuple[str, ...] | str = ()
    exclude_modules: tuple[str, ...] | str = ()
    layers_to_transform: tuple[int, ...] = ()

    def scaling(self, rank: float, alpha: float) -> float:
        """What the product of both matrices is multiplied by (Hu et al. 2021; Kalajdzievski 2023)."""
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter's directory, options, and weights in float32 by the names they are stored under."""

    path: Path
    base: str
    """Name or path of the model it was trained on; empty if it does not say."""
    options: LoraOptions
    weights: Mapping[str, torch.Tensor]


def load_adapter(directory: Path) -> Adapter:
    """Read an adapter.

    Raises:
        ModelNotFoundError: there is nothing at ``directory``.
        ExportError: it is no LoRA adapter, one that cannot be merged exactly, or damaged.
    """
    if not directory.exists():
        raise ModelNotFoundError(f"There is no adapter at {directory}. Check the path.")
    if not directory.is_dir():
        raise ExportError(f"{directory} is a file. Pass the directory that PEFT saved, with {CONFIG_NAME}.")
    content = read_json(directory / CONFIG_NAME)
    if not content:
        raise ExportError(
            f"{directory} is no adapter: it has no {CONFIG_NAME}. Pass the directory that PEFT saved."
        )
    options = _options(content, directory)
    base = content.get("base_model_name_or_path")
    return Adapter(
        path=directory,
        base=base if isinstance(base, str) else "",
        options=options,
        weights=_weights(directory),
    )


def described(directory: Path) -> str | None:
    """What the adapter in a directory is, in words; None if there is none."""
    if not (directory / CONFIG_NAME).exists():
        return None
    content = read_json(directory / CONFIG_NAME)
    kind, base = content.get("peft_type"), content.get("base_model_name_or_path")
    name = "LoRA" if kind == "LORA" else shown(kind)
    return f"a {name} adapter for {shown(base) if base else 'a model that it does not name'}"


def _options(content: Mapping[str, Any], directory: Path) -> LoraOptions:
    place = directory / CONFIG_NAME
    if content.get("peft_type") != "LORA":
        raise ExportError(
            f"{directory} is {described(directory)}; only LoRA adapters can be merged here. "
            "Merge it with PEFT (merge_and_unload), save_pretrained the result, and export that."
        )
    if (task := content.get("task_type")) not in (None, "CAUSAL_LM"):
        raise ExportError(f"{place} says that it is for {shown(task)}, not for CAUSAL_LM: it writes no text.")
    _check_beginning(content.get("init_lora_weights"), directory)
    read = {}
    for name, value in content.items():
        if name in LoraOptions.__dataclass_fields__:
            if value is not None:
                read[name] = _value(name, value, place)
        elif value and name not in _OF_TRAINING:
            raise ExportError(
                f"{place} has {shown(name)}, which cannot be merged exactly here. Merge the adapter with PEFT "
                "(merge_and_unload), save_pretrained the result, and export that, if PEFT can."
            )
    return LoraOptions(**read)


def _check_beginning(value: object, directory: Path) -> None:
    if not isinstance(value, str | bool | None) or value not in _BEGINNINGS:
        raise ExportError(
            f"{directory} belongs to a base that its training changed at the beginning (init_lora_weights "
            f"{shown(value)}). Save it with PEFT as an ordinary LoRA adapter: "
            "save_pretrained(DIR, path_initial_model_for_weight_conversion=...)."
        )


def _value(name: str, value: object, place: Path) -> Any:
    """An option's value, lists as tuples.

    Raises:
        ExportError: it is none that the option may have.
    """
    if isinstance(value, list):
        value = tuple(value)
    if name == "layers_to_transform" and isinstance(value, int):
        value = (value,)
    if not _IS_RIGHT[name](value):
        raise ExportError(f"{place} says {name} {shown(value)}, which it cannot be. {_AGAIN}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_rank(value: object) -> bool:
    return is_whole(value, 1)


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _are_names_or_pattern(value: object) -> bool:
    return isinstance(value, str) or _are_names(value)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _pattern_of(is_right: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(is_right, value.values()))


_IS_RIGHT: Mapping[str, Callable[[object], bool]] = {
    "r": _is_rank,
    "lora_alpha": _is_number,
    "rank_pattern": _pattern_of(_is_rank),
    "alpha_pattern": _pattern_of(_is_number),
    "use_rslora": _is_flag,
    "use_dora": _is_flag,
    "bias": _BIASES.__contains__,
    "modules_to_save": _are_names,
    "target_modules": _are_names_or_pattern,
    "exclude_modules": _are_names_or_pattern,
    "layers_to_transform": lambda value: isinstance(value, tuple) and all(isinstance(i, int) for i in value),
}


def _weights(directory: Path) -> Mapping[str, torch.Tensor]:
    """All weights, in float32."""
    path = directory / _WEIGHTS
    if not path.exists() and (directory / _PICKLED).exists():
        path = directory / _PICKLED
        return find_state(read_checkpoint(path), path)
    refuse_special(path)
    if odd := [name for name, kind, _ in stored_in(path) if "float" not in kind]:
        raise ExportError(f"{path} stores {listed(odd)} as no floating-point numbers. {_AGAIN}")
    return {name: weight.float() for name, weight in load_file(path).items()}
