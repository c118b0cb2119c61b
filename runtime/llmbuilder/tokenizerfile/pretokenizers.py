"""The pre-tokenizers of tokenizers' files."""

from collections.abc import Mapping
from typing import Any

from llmbuilder.tokenizerfile.components import Slot, check_pattern, plain


def _check_split(component: Mapping[str, Any], place: str) -> float:
    check_pattern(component.get("pattern"), f"{place}.pattern")
    return 1.0


PRE_TOKENIZERS = Slot(
    "pretokenizers",
    dict.fromkeys(
        (
            *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "Metaspace", "Punctuation"),
            *("UnicodeScripts", "Whitespace", "WhitespaceSplit"),
        ),
        plain,
    )
    | {"Split": _check_split},
    most_alike=4,
)
