"""The decoders of tokenizers' files."""

from collections.abc import Mapping
from typing import Any

from llmbuilder.tokenizerfile.components import Slot, check_replace, plain
from llmbuilder.tokenizerfile.places import LONGEST_ADDITION, a_number


def _check_strip(component: Mapping[str, Any], place: str) -> float:
    # The library reads before the beginning of a token that is shorter than what is to be cut off its end.
    a_number(component.get("start"), f"{place}.start", LONGEST_ADDITION)
    a_number(component.get("stop"), f"{place}.stop", 0)
    return 1.0


DECODERS = Slot(
    "decoders",
    dict.fromkeys(("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "WordPiece"), plain)
    | {"Replace": check_replace, "Strip": _check_strip},
    most_alike=2,
)
