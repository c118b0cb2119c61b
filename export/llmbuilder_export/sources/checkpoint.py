"""Read what LLMBuilder writes with ``torch.save``, trusting nothing in it."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from llmbuilder.errors import ExportError, ModelNotFoundError

State = dict[str, torch.Tensor]

_STATE_KEYS = ("model_state_dict", "state_dict", "model")
_WRAPPERS = ("_orig_mod.", "module.")


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Load a checkpoint without running anything in it; weights stay mapped from the file.

    Raises:
        ModelNotFoundError: there is no such file.
        ExportError: damaged, not a checkpoint, or holding more than tensors and plain values.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"There is no checkpoint at {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ExportError(_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise ExportError(f"{path} is damaged or not a PyTorch checkpoint ({_first_line(error)}).") from error
    if not isinstance(content, Mapping):
        raise ExportError(f"{path} holds a {type(content).__name__}, not an LLMBuilder checkpoint.")
    return content


def find_state(checkpoint: Mapping[str, Any], path: Path) -> State:
    """The weights of a checkpoint by upstream's names, in float32.

    Raises:
        ExportError: there are none.
    """
    candidates = [checkpoint.get(key) for key in _STATE_KEYS] + [checkpoint]
    for found in candidates:
        if isinstance(found, Mapping) and any(isinstance(value, torch.Tensor) for value in found.values()):
            return {_plain_name(k): v.float() for k, v in found.items() if isinstance(v, torch.Tensor)}
    raise ExportError(
        f"{path} holds no model weights: none of {', '.join(_STATE_KEYS)} is a state dict. "
        f"Its keys are {', '.join(map(repr, list(checkpoint)[:10]))}."
    )


def merge_lora(state: State, checkpoint: Mapping[str, Any], path: Path) -> State:
    """Add LoRA layers, W + B A alpha / rank (Hu et al. 2021), to the weights they adapt.

    Raises:
        ExportError: the checkpoint does not say what alpha is.
    """
    adapted = [name.removesuffix(".lora_A.weight") for name in state if name.endswith(".lora_A.weight")]
    if not adapted:
        return state
    alpha = _lora_alpha(checkpoint)
    if alpha is None:
        raise ExportError(f"{path} holds LoRA layers but not their lora_alpha. Merge them before exporting.")
    merged = {name.replace(".original_layer.", "."): w for name, w in state.items() if ".lora_" not in name}
    for name in adapted:
        down, up = state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"]
        merged[f"{name}.weight"] = torch.addmm(
            merged[f"{name}.weight"], up, down, alpha=alpha / down.shape[0]
        )
    return merged


def _lora_alpha(checkpoint: Mapping[str, Any]) -> float | None:
    for key in ("fine_tuning_config", "config"):
        options = checkpoint.get(key)
        if isinstance(options, Mapping) and isinstance(options.get("lora_alpha"), int | float):
            return float(options["lora_alpha"])
    return None


def _plain_name(name: str) -> str:
    """Drop what ``torch.compile`` and data-parallel wrappers put before a parameter's name."""
    for prefix in _WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _refusal(path: Path, reason: str) -> str:
    if "Unsupported global" in reason or "Unsupported class" in reason or "GLOBAL" in reason:
        found = reason.partition("GLOBAL ")[2].split(" ")[0] or "unknown objects"
        return (
            f"{path} holds more than weights and plain values ({found}): loading it could run code. "
            "Save the model's state dict and config only, or get it from a source you trust."
        )
    return f"{path} is damaged or not a PyTorch checkpoint ({_first_line(reason)})."


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
