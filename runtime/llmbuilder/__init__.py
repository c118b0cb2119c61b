"""Generate text with exported LLMBuilder models, without torch.

>>> import llmbuilder as lb
>>> text = lb.generate_text(model_path="bundle", prompt="Once upon a time")  # doctest: +SKIP

Importing this package loads nothing heavy: names are resolved when first used.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from llmbuilder._upstream import refuse_upstream

if TYPE_CHECKING:
    from llmbuilder.inference import (
        AsyncTextGenerator,
        GenerationConfig,
        TextGenerator,
        batch_generate,
        generate_text,
        interactive_cli,
        stream_generate,
    )

__all__ = [
    "AsyncTextGenerator",
    "GenerationConfig",
    "TextGenerator",
    "batch_generate",
    "generate_text",
    "interactive_cli",
    "stream_generate",
]

refuse_upstream()

# From 1.29 on ONNX Runtime reports its use to Microsoft, keeps an id for it in the user's cache folder, and has a
# thread for it that no forked child can end without. It looks at this once, when it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Resolve a public name lazily (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("llmbuilder.inference"), name)


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
