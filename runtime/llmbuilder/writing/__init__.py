"""Creative writing: `CreativeWriter` and its styles."""

from llmbuilder.writing.styles import Style, register_style, style_names
from llmbuilder.writing.writer import CreativeWriter

__all__ = ["CreativeWriter", "Style", "register_style", "style_names"]
