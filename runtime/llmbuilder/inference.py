"""The documented names of `llmbuilder.inference`."""

from llmbuilder.api import batch_generate, generate_text, stream_generate
from llmbuilder.config import GenerationConfig
from llmbuilder.generator import Completion, Score, TextGenerator

__all__ = [
    "Completion",
    "GenerationConfig",
    "Score",
    "TextGenerator",
    "batch_generate",
    "generate_text",
    "stream_generate",
]
