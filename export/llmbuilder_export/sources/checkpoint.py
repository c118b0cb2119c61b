"""Read what LLMBuilder writes with ``torch.save``, trusting nothing in it."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from llmbuilder.errors import ExportError, ModelNotFoundError
from llmbuilder_export.sources.archives import check_archive
from llmbuilder_export.sources.files import listed, refuse_special, shown

State = dict[str, torch.Tensor]

_STATE_KEYS = ("model_state_dict", "state_dict", "model")
_WRAPPERS = ("_orig_mod.", "module.")
_MASK = "causal_mask"
_FLOATING = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Load a checkpoint without running anything in it; weights stay mapped from the file.

    Raises:
        ModelNotFoundError: there is no such file.
        ExportError: damaged, not a checkpoint, or holding more than tensors and plain values.
    """
    if not path.exists():
        raise ModelNotFoundError(f"There is no checkpoint at {path}. Check the path.")
    refuse_special(path)
    try:
        mapped = check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice to its own users
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error}). Check its permissions and its disk.") from error
    except Exception as error:  # reading what is no pickle may fail in any way
        raise ExportError(
            f"{path} is damaged or not a PyTorch checkpoint. Pass the file LLMBuilder saved, such as model.pt."
        ) from error
    if not isinstance(content, Mapping):
        raise ExportError(
            f"{path} holds a {type(content).__name__}, not an LLMBuilder checkpoint. "
            "Pass what training saved, such as model.pt."
        )
    return content


def find_state(checkpoint: Mapping[str, Any], path: Path) -> State:
    """The weights of a checkpoint by upstream's names, in float32.

    Raises:
        ExportError: there are none.
    """
    candidates = [checkpoint.get(key) for key in _STATE_KEYS] + [checkpoint]
    for found in candidates:
        if weights := _weights(found):
            _refuse_hollow(weights, path)
            return _plain(weights, path)
    raise ExportError(
        f"{path} holds no model weights: none of {', '.join(_STATE_KEYS)} is a state dict. "
        f"Its keys are {listed(checkpoint)}. Pass the file that training saved, such as model.pt."
    )


def _plain(weights: State, path: Path) -> State:
    """Weights in float32 under their plain names, without the buffers of a mask that the model makes itself.

    Raises:
        ExportError: two have the same plain name, or are no floating-point numbers.
    """
    state: State = {}
    for stored, weight in weights.items():
        name = _plain_name(stored)
        if name.endswith(_MASK):
            continue
        if name in state:
            raise ExportError(
                f"{path} holds {shown(name)} twice, under different names. Save the model once."
            )
        if weight.dtype not in _FLOATING:
            raise ExportError(
                f"{path} stores {shown(name)} as {str(weight.dtype).removeprefix('torch.')}, which cannot be exported. "
                "Save the model in floating point, before it is quantized."
            )
        state[name] = weight.float()
    return state


def _weights(found: object) -> State:
    """The named tensors of a mapping."""
    items = found.items() if isinstance(found, Mapping) else ()
    return {name: w for name, w in items if isinstance(name, str) and isinstance(w, torch.Tensor)}


def _refuse_hollow(weights: State, path: Path) -> None:
    """Refuse tensors that claim more values than they store: a small file could fill the memory."""
    for name, weight in weights.items():
        plain = weight.layout == torch.strided and not weight.is_meta
        if not plain or weight.nbytes > weight.untyped_storage().nbytes():
            raise ExportError(
                f"{path} does not store {name} whole: its shape is {list(weight.shape)}. Save plain tensors only."
            )


def merge_lora(state: State, checkpoint: Mapping[str, Any], path: Path) -> State:
    """Add LoRA layers, W + B A alpha / rank (Hu et al. 2021), to the weights they adapt.

    Raises:
        ExportError: the checkpoint does not say what alpha is, or layers are incomplete.
    """
    adapted = {name.partition(".lora_")[0]: None for name in state if ".lora_" in name}  # in order
    if not adapted:
        return state
    alpha = _lora_alpha(checkpoint)
    if alpha is None:
        raise ExportError(f"{path} holds LoRA layers but not their lora_alpha. Merge them before exporting.")
    merged = {name.replace(".original_layer.", "."): w for name, w in state.items() if ".lora_" not in name}
    for name in adapted:
        down, up, weight = (
            state.get(f"{name}.lora_A.weight"),
            state.get(f"{name}.lora_B.weight"),
            merged.get(f"{name}.weight"),
        )
        if down is None or up is None or weight is None or not _fit(weight, up, down):
            raise ExportError(
                f"{path} has a LoRA layer, {name}, without all its weights or of sizes that do not fit. "
                "Merge the layers before exporting, or save the checkpoint anew."
            )
        merged[f"{name}.weight"] = torch.addmm(weight, up, down, alpha=alpha / down.shape[0])
    return merged


def _fit(weight: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> bool:
    if not weight.ndim == up.ndim == down.ndim == 2:
        return False
    return up.shape[1] == down.shape[0] and weight.shape == (up.shape[0], down.shape[1])


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
