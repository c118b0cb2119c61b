"""Turn a trained model into a bundle that generates without PyTorch.

Importing this package loads nothing heavy, and refuses an environment that it shares with LLMBuilder's own. PyTorch
comes with the first use of `export_model`.
"""

from typing import TYPE_CHECKING

from llmbuilder_export.upstream import refuse_upstream

if TYPE_CHECKING:
    from llmbuilder_export.pipeline import ExportReport, export_model

__all__ = ["ExportReport", "export_model"]

refuse_upstream()


def __getattr__(name: str) -> object:
    """Resolve the public names when they are first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llmbuilder_export import pipeline

    return getattr(pipeline, name)
