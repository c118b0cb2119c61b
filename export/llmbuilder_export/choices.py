"""What an export is asked for: refused where it means nothing, before PyTorch runs."""

from pathlib import Path
from typing import get_args

from torch import nn

from llmbuilder.bundle.manifest import Quantization, Target
from llmbuilder.checks import StrPath
from llmbuilder.errors import ExportError

_CACHES = ("float32", "int8")


def place_of(
    source: StrPath | nn.Module,
    tokenizer: StrPath | None,
    output: StrPath | None,
    adapter: StrPath | None,
    config: StrPath | None,
) -> Path:
    """Where the model lies; the name of one in memory.

    Raises:
        ExportError: one in memory lacks what would be looked for beside a file, or has what only files need.
    """
    if not isinstance(source, nn.Module):
        return Path(source)
    name = type(source).__name__
    if tokenizer is None or (output is None and adapter is None):
        raise ExportError(
            f"{name} is a module in memory: there is nothing beside it. Pass its tokenizer, a file or a directory, and "
            "the output, a directory: export_model(module, tokenizer, output)."
        )
    if config is not None:
        raise ExportError(
            f"{name} is a module in memory and is what it is. Leave config={str(config)!r} out."
        )
    return Path(name)


def check_options(quantization: str, kv_cache: str, device: str, max_context: int | None) -> None:
    """Refuse values that options do not have, or not together.

    Raises:
        ExportError: says which.
    """
    if quantization not in get_args(Quantization):
        raise ExportError(
            f"quantization must be one of {', '.join(get_args(Quantization))}, got {quantization!r}."
        )
    if (quantization, device) == ("w8a8", "cuda"):
        raise ExportError(
            "quantization='w8a8' is for cpu: ONNX Runtime multiplies whole numbers there only. "
            "Leave it out, or export with int8, which saves memory on a card."
        )
    if kv_cache not in _CACHES:
        raise ExportError(f"kv_cache must be one of {', '.join(_CACHES)}, got {kv_cache!r}.")
    if device not in get_args(Target):
        raise ExportError(f"device must be 'cpu' or 'cuda', got {device!r}.")
    if (kv_cache, device) == ("int8", "cuda"):
        raise ExportError("kv_cache='int8' is for cpu: on a card the cache is float16. Leave it out.")
    if max_context is not None and max_context < 2:
        raise ExportError(f"max_context must be at least 2 tokens, got {max_context}.")
