"""Generate text with exported LLMBuilder models, without torch.

>>> import llmbuilder as lb
>>> text = lb.generate_text(model_path="bundle", prompt="Once upon a time")  # doctest: +SKIP

Importing this package loads nothing heavy: names are resolved when first used. Every error is here too, as
`llmbuilder.errors` draws them: ``except lb.ConfigError``.
"""

import importlib
import os
from typing import TYPE_CHECKING

from llmbuilder._upstream import refuse_upstream

if TYPE_CHECKING:
    from llmbuilder import errors, inference
    from llmbuilder.errors import (
        BundleError,
        BusyError,
        ConfigError,
        ConstraintError,
        ContextOverflowError,
        DeviceError,
        ExportError,
        FileError,
        LLMBuilderError,
        ModelNotFoundError,
        TokenizerError,
    )
    from llmbuilder.inference import (
        AsyncTextGenerator,
        ChatInterface,
        Comparison,
        ComparisonResult,
        Completion,
        ConstrainedGenerator,
        CreativeWriter,
        Evaluation,
        FilterReport,
        GenerationConfig,
        GenerationOptions,
        InteractiveGenerator,
        OutputFilter,
        OutputGate,
        Score,
        Style,
        TextGenerator,
        Verdict,
        batch_generate,
        compare_generations,
        evaluate_generation,
        generate_text,
        interactive_cli,
        register_style,
        stream_generate,
    )

    __version__: str

__all__ = [
    "AsyncTextGenerator",
    "BundleError",
    "BusyError",
    "ChatInterface",
    "Comparison",
    "ComparisonResult",
    "Completion",
    "ConfigError",
    "ConstrainedGenerator",
    "ConstraintError",
    "ContextOverflowError",
    "CreativeWriter",
    "DeviceError",
    "Evaluation",
    "ExportError",
    "FileError",
    "FilterReport",
    "GenerationConfig",
    "GenerationOptions",
    "InteractiveGenerator",
    "LLMBuilderError",
    "ModelNotFoundError",
    "OutputFilter",
    "OutputGate",
    "Score",
    "Style",
    "TextGenerator",
    "TokenizerError",
    "Verdict",
    "__version__",
    "batch_generate",
    "compare_generations",
    "errors",
    "evaluate_generation",
    "generate_text",
    "inference",
    "interactive_cli",
    "register_style",
    "stream_generate",
]

refuse_upstream()

# From 1.29 on ONNX Runtime reports its use to Microsoft, keeps an id for it in the user's cache folder, and has a
# thread for it that no forked child can end without. It looks at this once, when it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if not TYPE_CHECKING:  # a type checker knows the names above, and that there are no others

    def __getattr__(name: str) -> object:
        """Resolve a public name lazily (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            return importlib.import_module("llmbuilder.distribution").installed_version()
        if name in ("errors", "inference"):
            return importlib.import_module(f"llmbuilder.{name}")
        home = "errors" if name.endswith("Error") else "inference"
        return getattr(importlib.import_module(f"llmbuilder.{home}"), name)


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
