"""Experts in MXFP4, as gpt-oss is published: transformers reads them as the numbers that they stand for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Mxfp4Config, PretrainedConfig

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.files import shown

_PART = re.compile(r"\.experts\.(gate_up|down)_proj_(blocks|scales)$")
_KIND = "U8"
"""Of both parts: two codes of four bits, or the exponent of 32 numbers."""
_BYTES = 16
"""Of the codes of one exponent."""


def in_mxfp4(config: PretrainedConfig) -> bool:
    """Whether ``config.json`` says that experts are stored so."""
    stated: Any = getattr(config, "quantization_config", None)
    return isinstance(stated, dict) and stated.get("quant_method") == "mxfp4"


def is_part(name: str, kind: str) -> bool:
    """Whether a stored tensor is one of the two that hold a weight of experts."""
    return kind == _KIND and _PART.search(name) is not None


def refuse_halves(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse codes and exponents that do not belong together.

    Raises:
        ExportError: one part of a weight is missing, or of another size.
    """
    for stem in {name.rpartition("_")[0] for name in shapes if _PART.search(name)}:
        blocks, scales = (shapes.get(f"{stem}_{part}", ()) for part in ("blocks", "scales"))
        if blocks != (*scales, _BYTES):
            raise ExportError(
                f"{directory} does not store {shown(stem)} whole: its codes have shape {list(blocks)}, their exponents "
                f"{list(scales)}. Get the whole model again."
            )


def unpacking(config: PretrainedConfig) -> dict[str, Any]:
    """What ``from_pretrained`` is told besides, so that no number is rounded."""
    return {"quantization_config": Mxfp4Config(dequantize=True)} if in_mxfp4(config) else {}
