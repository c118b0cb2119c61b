"""What is said of a model that cannot be exported: its family, what of it bundles cannot do, and what to do instead.

Models are code of many authors, which may fail in any way. What it raises stays behind our sentence, as its cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from llmbuilder.errors import ExportError, LLMBuilderError

WITHOUT_CACHE = "its code does not run without a cache, so that no bundle could be compared"
"""Why a model is refused whose plain logits cannot be had."""
_OTHERS = "Export a model of another family, or report this one"
_STATES = frozenset({"linear_attention", "hybrid", "hybrid_sliding", "conv"})
"""Kinds of layers, by their names in configurations, that keep something else of a text than keys and values."""


def family_of(module: nn.Module) -> str:
    """The family of a model or of a part of one; the name of its class if it belongs to none."""
    kind = getattr(getattr(module, "config", None), "model_type", None)
    return kind or type(module).__name__


def refusal(family: str, reason: str) -> ExportError:
    """The error for a model of a family that bundles cannot compute, for a reason that continues "it cannot be"."""
    return ExportError(f"{family} cannot be exported: {reason}. {_OTHERS}.")


@contextmanager
def in_a_sentence(family: str, reason: str) -> Iterator[None]:
    """Tell whatever is raised as the refusal of a family; what is ours, or the system's, stays as it is.

    Raises:
        ExportError: the refusal, with what was raised as its cause.
    """
    try:
        yield
    except (LLMBuilderError, MemoryError, OSError):
        raise
    except Exception as error:  # code of many authors, which may raise anything
        if "allocate memory" in str(error):  # of torch, which has no class of its own for it
            raise ExportError(
                f"{family} cannot be exported: there is not enough memory for it here. Export it where there is more."
            ) from error
        raise ExportError(
            f"{family} cannot be exported: {reason}. {_OTHERS}, with what `llmb --debug export` shows."
        ) from error


def refuse_encoder(config: Any) -> None:
    """Refuse a family that reads with an encoder, by its configuration.

    Raises:
        ExportError: it does.
    """
    if config.is_encoder_decoder or getattr(type(config), "is_encoder_decoder", False):
        raise refusal(config.model_type, "its models read a text with an encoder, which bundles do not have")


def refuse_states(model: nn.Module) -> None:
    """Refuse a model whose layers, or some of them, are of the state-space or recurrent kind.

    Raises:
        ExportError: they are.
    """
    text = getattr(model.config, "get_text_config", lambda: model.config)()
    kinds = getattr(text, "layer_types", None) or ()
    count = sum(kind in _STATES for kind in kinds)
    if count or (not kinds and getattr(model, "_is_stateful", False)):
        where = f"in {count} of its {len(kinds)} layers" if count else "in its layers"
        raise refusal(
            family_of(model),
            f"it keeps a state of the text {where} (state space, convolution or recurrence), where a bundle's cache "
            "has keys and values only",
        )
