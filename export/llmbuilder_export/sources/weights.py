"""The weights of a Hugging Face directory: that its files hold what weights may be, and a model's all, and no others.

transformers fills weights that it does not find with random numbers, and leaves out those that it does not know.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig, PreTrainedModel

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.checkpoint import read_checkpoint
from llmbuilder_export.sources.files import inside, listed, read_json, refuse_special, shown
from llmbuilder_export.sources.mxfp4 import in_mxfp4, is_part, refuse_halves

_PLACES = ("model.safetensors", "pytorch_model.bin")
_MADE = re.compile(
    r"(^|\.)(inv_freq|masked_bias|position_ids|(cos|sin)_cached|causal_mask|att(n|ention)\.bias)$"
)
"""Buffers that models of some release stored and make themselves; only those of attention's mask are called bias."""
_LAYER = re.compile(r"\.(\d+)\.")
_FLOATING = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_AGAIN = "Get the whole model again."
Shapes = Mapping[str, tuple[int, ...]]
_Stored = tuple[str, str, tuple[int, ...]]
_MOST_SHARDS = 10_000
_SPARE = 1 << 27
"""Numbers that a model may have beyond those stored, before it is loaded to see which: half a gigabyte."""
_LONGEST_HEADER = 16 << 20
"""Bytes in which a safetensors file may name its weights: about 150,000 of them."""


def check_files(directory: Path, config: PretrainedConfig) -> Shapes:
    """Look at the names and types of all stored weights, before a library reads them.

    Args:
        directory: where they lie.
        config: what ``config.json`` says there.

    Returns:
        Their shapes by name.

    Raises:
        ExportError: weights are missing, in no plain file of the directory, stored twice, fewer than there are layers,
            or no numbers to export.
    """
    if (other := getattr(config, "transformers_weights", None)) is not None:
        raise ExportError(
            f"{directory}/config.json takes the weights from {shown(other)}. "
            f"Remove transformers_weights there, and name the file {_PLACES[0]}."
        )
    seen: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    packed = in_mxfp4(config)
    for path in _files(directory):
        for name, kind, shape in stored_in(path):
            if name in seen:
                raise ExportError(f"{shown(name)} is stored twice, in {seen[name]} and {path}. {_AGAIN}")
            readable = kind in _FLOATING.values() or (packed and is_part(name, kind))
            if not readable and not _MADE.search(name):
                raise ExportError(
                    f"{path} stores {shown(name)} as {kind}: only floating-point weights can be exported. "
                    "Get the model from before it was quantized."
                )
            seen[name], shapes[name] = path, shape
    if packed:
        refuse_halves(directory, shapes)
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, int) and layers > len(seen):
        raise ExportError(
            f"{directory}/config.json says {shown(layers)} layers, but only {len(seen)} weights are stored. {_AGAIN}"
        )
    return shapes


def _files(directory: Path) -> list[Path]:
    """The files that transformers would read, in its order of preference."""
    for name in _PLACES:
        index = directory / f"{name}.index.json"
        if (directory / name).exists():
            return _plain([directory / name])
        if index.exists():
            return _plain(_shards(directory, index))
    raise ExportError(f"{directory} holds no weights: there is neither {' nor '.join(_PLACES)}. {_AGAIN}")


def _shards(directory: Path, index: Path) -> list[Path]:
    """The files that an index lists, each once."""
    content = read_json(index).get("weight_map")
    values = list(content.values()) if isinstance(content, Mapping) else []
    odd = [value for value in values if not isinstance(value, str)]
    shards = sorted({*values}) if not odd else odd[:1]
    if not 0 < len(shards) <= _MOST_SHARDS:
        raise ExportError(f"{index} lists {len(shards) or 'no'} files of weights. {_AGAIN}")
    return [inside(directory, shard, index) for shard in shards]


def _plain(files: list[Path]) -> list[Path]:
    for path in files:
        refuse_special(path)
    return files


def stored_in(path: Path) -> Iterator[_Stored]:
    """Name, type and shape of each weight in a file.

    Raises:
        ExportError: the file is damaged, or names more weights than any model has.
    """
    if path.suffix == ".safetensors":
        yield from _stored_safely(path)
        return
    for name, weight in read_checkpoint(path).items():
        if isinstance(weight, torch.Tensor):
            yield str(name), str(weight.dtype).removeprefix("torch."), tuple(weight.shape)


def _stored_safely(path: Path) -> Iterator[_Stored]:
    try:
        with path.open("rb") as beginning:
            header = int.from_bytes(beginning.read(8), "little")
        if _LONGEST_HEADER < header <= path.stat().st_size:
            raise ExportError(
                f"{path} names its weights in {header:,} bytes, more than any model needs. {_AGAIN}"
            )
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                part = file.get_slice(name)
                kind = part.get_dtype()
                yield name, _FLOATING.get(kind, kind), tuple(part.get_shape())
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path} is damaged or not a safetensors file ({error}). {_AGAIN}") from error


def _configuration(source: Path) -> str:
    """What says the model's sizes: a file of its directory, or the beginning of the one file that it is."""
    return f"{source}/config.json" if source.is_dir() else f"the header of {source}"


def refuse_larger(directory: Path, sketch: PreTrainedModel, stored: Shapes) -> None:
    """Refuse a configuration that asks for much more memory than what is stored would fill.

    Args:
        directory: where the weights lie, or the one file that holds all.
        sketch: the model of its configuration without memory, on PyTorch's ``meta`` device.
        stored: what `check_files` found.

    Raises:
        ExportError: its weights, or the buffers that it makes itself, are much larger; says which.
    """
    known = sum(math.prod(shape) for shape in stored.values())
    weights = sum(weight.numel() for weight in sketch.parameters())
    buffers = sum(buffer.numel() for buffer in sketch.buffers())
    if weights <= 2 * known + _SPARE and buffers <= known + _SPARE:
        return
    ours = {name: tuple(weight.shape) for name, weight in sketch.named_parameters()}
    told = [
        f"{name} has shape {list(stored[name])} instead of {list(shape)}"
        for name, shape in ours.items()
        if name in stored and stored[name] != shape
    ]
    what = listed(told) if told else f"it asks for {weights + buffers:,} numbers, {known:,} are stored"
    raise ExportError(
        f"{_configuration(directory)} does not belong to the weights of {type(sketch).__name__}: {what}. {_AGAIN}"
    )


def refuse_holes(directory: Path, model: PreTrainedModel, loaded: Mapping[str, Any]) -> None:
    """Refuse a model of which transformers made something up, or left something out.

    Args:
        directory: where it was loaded from, or the one file that holds all.
        model: the model.
        loaded: what ``from_pretrained(..., output_loading_info=True)`` tells.

    Raises:
        ExportError: weights are missing, unknown, misshapen, or differ from those they are tied to.
    """
    name = type(model).__name__
    missing = sorted(key for key in loaded["missing_keys"] if not _MADE.search(key))
    unknown = sorted(key for key in loaded["unexpected_keys"] if not _is_made(key, model))
    shapes = [entry for entry in loaded["mismatched_keys"] if not _MADE.search(entry[0])]
    if missing and unknown:
        theirs, ours = _alike(unknown, missing)
        raise ExportError(
            f"{directory} holds weights under other names than {name} has: {shown(theirs)} instead of {ours} "
            f"(missing: {listed(missing)}; unknown: {listed(unknown)}). "
            "Save the model itself with save_pretrained, an adapter after merge_and_unload()."
        )
    if missing:
        raise ExportError(f"{directory} lacks weights of {name}: {listed(missing)}. {_AGAIN}")
    if shapes:
        told = (f"{key} has shape {list(theirs)} instead of {list(ours)}" for key, theirs, ours in shapes)
        raise ExportError(
            f"{_configuration(directory)} does not belong to the weights of {name}: {listed(told)}. {_AGAIN}"
        )
    if unknown:
        raise ExportError(_surplus(directory, model, unknown))
    _refuse_untied(directory, model)


def refuse_broken_weights(network: torch.nn.Module, path: Path) -> None:
    """Refuse weights that are no numbers: of a training that diverged, or overflowed in half precision.

    Raises:
        ExportError: there are such.
    """
    for name, weight in network.named_parameters():
        if weight.numel() and not torch.stack(torch.aminmax(weight.detach())).isfinite().all():
            raise ExportError(
                f"{path} holds NaN or infinity in {name}, as after a training that diverged. "
                "Export an earlier checkpoint."
            )


def _is_made(key: str, model: PreTrainedModel) -> bool:
    """Whether a stored tensor is a buffer that the model makes itself, whatever stands before its name."""
    tail = key.split(".")[-2:]
    return bool(_MADE.search(key)) or any(name.split(".")[-2:] == tail for name, _ in model.named_buffers())


def _alike(unknown: list[str], missing: list[str]) -> tuple[str, str]:
    """An unknown name and the missing one that it ends with, if there are such."""
    pairs = ((theirs, ours) for ours in missing for theirs in unknown if theirs.endswith(ours))
    return next(pairs, (unknown[0], missing[0]))


def _surplus(directory: Path, model: PreTrainedModel, unknown: list[str]) -> str:
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    numbers = [int(match[1]) if (match := _LAYER.search(key)) else -1 for key in unknown]
    if isinstance(layers, int) and min(numbers) >= layers:
        return (
            f"{directory} holds weights of {max(numbers) + 1} layers, but {_configuration(directory)} says {layers}. "
            "Use the configuration that belongs to the weights."
        )
    return (
        f"{directory} holds weights that {type(model).__name__} does not have: {listed(unknown)}. "
        "What they compute would be left out: export the model without them, as save_pretrained writes it."
    )


def _refuse_untied(directory: Path, model: PreTrainedModel) -> None:
    tied: Mapping[str, str] = model.get_expanded_tied_weights_keys(all_submodels=True)
    for target, source in tied.items():
        if target not in model.all_tied_weights_keys:
            raise ExportError(
                f"{directory} stores {target} and {source} with different values, while its config.json ties them. "
                "Set tie_word_embeddings to false in it if they are meant to differ."
            )
