"""A generator that a class over one opens, or takes."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmbuilder.checks import StrPath
from llmbuilder.cleanup import undone_on_error
from llmbuilder.engine.session import Device
from llmbuilder.generator.textgenerator import TextGenerator


@contextmanager
def opened(
    model: "StrPath | TextGenerator",
    tokenizer_path: StrPath | None = None,
    *,
    device: Device = "auto",
    threads: int | None = None,
) -> Iterator[TextGenerator]:
    """The generator that a class over one works with: opened from a path, or the one that is given.

    If the block fails what was opened here is closed; what was given is left as it is.
    """
    if isinstance(model, TextGenerator):
        yield model
        return
    generator = TextGenerator(model, tokenizer_path, device=device, threads=threads)
    with undone_on_error(generator.close):
        yield generator
