"""The demo model, which tells stories: in the wheel, or in a checkout beside the code."""

from pathlib import Path

_HERE = Path(__file__).parent
_PLACES = (_HERE / "storyteller", _HERE.parents[1] / "artifacts" / "storyteller" / "bundle")


def demo_model() -> Path:
    """The directory of the demo model's bundle.

    Raises:
        ModelNotFoundError: this copy has come without it.
    """
    for place in _PLACES:
        if place.is_dir():
            return place
    from llmbuilder.errors import ModelNotFoundError

    raise ModelNotFoundError(
        "The demo model is not here. Install llmbuilder-runtime from its wheel or clone."
    )
