"""Numbers in a configuration that would make a model of endless parts: refused before anything is built.

Building a model takes time and memory for each of its parts, even without its weights (PyTorch's ``meta`` device).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from torch.nn.modules import module as torch_module

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.files import shown

_LIMITS = (
    (re.compile(r"(^|[._])(layers?(_per_\w+)?|experts?|heads?|blocks?|groups?|cycles?)$"), 10_000),
    (re.compile(r"(^|[._])(dims?|size|width|rank|embd|inner|model)$"), 1 << 24),
)
"""By the ends of their names: ten times as many layers, experts of a layer or heads as any model has, and sixteen times
its largest size, that of a vocabulary."""
_MOST_PARTS, _PARTS_EACH = 20_000, 20
"""Modules and weights that a model may have in any case, and for each weight that is stored."""
_LONGEST_WINDOW = 1 << 21
"""Tokens; the table of their positions takes a gigabyte."""
_AGAIN = "Get the whole model again."


def refuse_counts(content: Mapping[str, Any], path: Path) -> None:
    """Refuse numbers of layers, experts or heads, and sizes, that no model has.

    Args:
        content: what a ``config.json`` says.
        path: the file, for the message.

    Raises:
        ExportError: there is such a number; says where.
    """
    for place, value in _numbers(content, ""):
        most = next((most for name, most in _LIMITS if name.search(place)), value)
        if value > most:
            raise ExportError(
                f"{path} says {shown(place)} {shown(value)}, more than the {most:,} that a model may have. {_AGAIN}"
            )


def _numbers(content: Mapping[str, Any], before: str) -> Iterator[tuple[str, int]]:
    for name, value in content.items():
        if isinstance(value, int):
            yield f"{before}{name}", value
        elif isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}.")


@contextmanager
def few_parts(place: str, stored: int) -> Iterator[None]:
    """Stop a model that is built in this context from having many more parts than weights are stored.

    Args:
        place: what says the model's sizes, for the message.
        stored: number of weights.

    Raises:
        ExportError: it has.
    """
    most = max(_MOST_PARTS, _PARTS_EACH * stored)
    numbers = count(1)

    def counted(*_: object) -> None:
        if next(numbers) > most:
            raise ExportError(
                f"{place} asks for a model of over {most:,} parts, but only {stored:,} weights are stored. {_AGAIN}"
            )

    hooks = (
        torch_module.register_module_module_registration_hook(counted),
        torch_module.register_module_parameter_registration_hook(counted),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def window_of(window: int, max_context: int | None, place: str) -> int:
    """The tokens of the window: a model's own, or fewer.

    Args:
        window: what the model has.
        max_context: most tokens, if fewer.
        place: what says the window, for the message.

    Raises:
        ExportError: the table of its positions would fill the memory.
    """
    if (most := min(window, max_context or window)) > _LONGEST_WINDOW:
        raise ExportError(
            f"{place} says a window of {shown(f'{window:,}')} tokens, more than {_LONGEST_WINDOW:,}. "
            "Pass --max-context."
        )
    return most
