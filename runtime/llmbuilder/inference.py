"""The documented names of `llmbuilder.inference`. Each is loaded when it is first used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbuilder.api import batch_generate, generate_text, stream_generate
    from llmbuilder.chat.interface import ChatInterface
    from llmbuilder.config import GenerationConfig
    from llmbuilder.constraints.constrained import ConstrainedGenerator
    from llmbuilder.filtering import FilterReport, OutputFilter, OutputGate
    from llmbuilder.generator import Completion, Score, TextGenerator
    from llmbuilder.interactive.interface import InteractiveGenerator, interactive_cli
    from llmbuilder.overrides import GenerationOptions
    from llmbuilder.quality.compare import Comparison, ComparisonResult, Verdict, compare_generations
    from llmbuilder.quality.evaluate import Evaluation, evaluate_generation
    from llmbuilder.scheduling.asynchronous import AsyncTextGenerator
    from llmbuilder.writing import CreativeWriter, Style, register_style

__all__ = [
    "AsyncTextGenerator",
    "ChatInterface",
    "Comparison",
    "ComparisonResult",
    "Completion",
    "ConstrainedGenerator",
    "CreativeWriter",
    "Evaluation",
    "FilterReport",
    "GenerationConfig",
    "GenerationOptions",
    "InteractiveGenerator",
    "OutputFilter",
    "OutputGate",
    "Score",
    "Style",
    "TextGenerator",
    "Verdict",
    "batch_generate",
    "compare_generations",
    "evaluate_generation",
    "generate_text",
    "interactive_cli",
    "register_style",
    "stream_generate",
]

if not TYPE_CHECKING:  # a type checker knows the names above, and that there are no others
    _HOMES = {
        "AsyncTextGenerator": "scheduling.asynchronous",
        "ChatInterface": "chat.interface",
        "Comparison": "quality.compare",
        "ComparisonResult": "quality.compare",
        "Completion": "generator",
        "ConstrainedGenerator": "constraints.constrained",
        "CreativeWriter": "writing",
        "Evaluation": "quality.evaluate",
        "FilterReport": "filtering",
        "GenerationConfig": "config",
        "GenerationOptions": "overrides",
        "InteractiveGenerator": "interactive.interface",
        "OutputFilter": "filtering",
        "OutputGate": "filtering",
        "Score": "generator",
        "Style": "writing",
        "TextGenerator": "generator",
        "Verdict": "quality.compare",
        "batch_generate": "api",
        "compare_generations": "quality.compare",
        "evaluate_generation": "quality.evaluate",
        "generate_text": "api",
        "interactive_cli": "interactive.interface",
        "register_style": "writing",
        "stream_generate": "api",
    }

    def __getattr__(name: str) -> object:
        """Resolve a documented name lazily (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"llmbuilder.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The documented names, for completion."""
    return sorted(__all__)
