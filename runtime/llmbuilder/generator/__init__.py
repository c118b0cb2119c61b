"""`TextGenerator`: text in, completions out. Everything else in the package is thin over it.

What lies above takes from here what it needs of decoding and engine.
"""

from llmbuilder.config import Options
from llmbuilder.decoding.completion import Completion
from llmbuilder.decoding.constraint import Constraint
from llmbuilder.decoding.logits import log_softmax
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.running import Answer
from llmbuilder.decoding.scoring import Score
from llmbuilder.decoding.strategies import ConstrainedPrompt, PromptLike
from llmbuilder.decoding.textlimit import TextLimit
from llmbuilder.engine.loading import Engine
from llmbuilder.engine.prefix import remembering
from llmbuilder.engine.session import Device
from llmbuilder.generator.opening import opened
from llmbuilder.generator.textgenerator import DEFAULT_BATCH_SIZE, TextGenerator, named

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "Answer",
    "Completion",
    "ConstrainedPrompt",
    "Constraint",
    "Device",
    "Engine",
    "Options",
    "Prompt",
    "PromptLike",
    "Score",
    "TextGenerator",
    "TextLimit",
    "log_softmax",
    "named",
    "opened",
    "remembering",
]
