"""What happens, for programs that want to know: loggers below ``llmbuilder``, silent until a program listens.

``logging.getLogger("llmbuilder").setLevel("INFO")``, with a handler anywhere, tells of models that are loaded, windows
that slide, and prompts or conversations that are cut. What users say, and what is answered, is never told.
"""

import logging

logging.getLogger("llmbuilder").addHandler(logging.NullHandler())


def logger(name: str) -> logging.Logger:
    """The logger of a module, by its ``__name__``."""
    return logging.getLogger(name)
