"""Options as people type them."""

import json
from typing import Any

_CONSTANTS = {"none": None, "true": True, "false": False}


def parse_value(text: str) -> Any:
    """A value of an option: JSON, a constant as Python spells it, or else the text itself."""
    word = text.strip().lower()
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
