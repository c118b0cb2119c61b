"""The normalizers of tokenizers' files."""

from collections.abc import Mapping
from typing import Any

from llmbuilder.tokenizerfile.components import Slot, check_replace, plain
from llmbuilder.tokenizerfile.places import LONGEST_ADDITION, a_text


def _check_prepend(component: Mapping[str, Any], place: str) -> float:
    a_text(component.get("prepend"), f"{place}.prepend", LONGEST_ADDITION)
    return 1.0


def _check_precompiled(component: Mapping[str, Any], place: str) -> float:
    from llmbuilder.tokenizerfile.charsmap import check_charsmap  # needs NumPy

    check_charsmap(component.get("precompiled_charsmap"), f"{place}.precompiled_charsmap")
    return 1.0


NORMALIZERS = Slot(
    "normalizers",
    dict.fromkeys(
        (
            *("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase"),
            *("Strip", "StripAccents", "BertNormalizer", "ByteLevel"),
        ),
        plain,
    )
    | {"Replace": check_replace, "Prepend": _check_prepend, "Precompiled": _check_precompiled},
    most_alike=2,
)
