"""What the configurations of a comparison are called: by the options in which they differ."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmbuilder.quality.compare import ComparisonResult


def common_options(found: "Sequence[ComparisonResult]") -> dict[str, Any]:
    """The options that all of several configurations have, with the same values."""
    first, *others = (result.config.options() for result in found)
    if not others:
        return {}
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def name_of(options: Mapping[str, Any], common: Mapping[str, Any] | None = None) -> str:
    """``temperature=0.3 top_k=40``, without what is common; ``(defaults)`` if nothing is left."""
    own = (f"{name}={value}" for name, value in options.items() if name not in (common or {}))
    return " ".join(own) or "(defaults)"
