"""Options as people type them."""

import json
from typing import Any

from llmbuilder.errors import ConfigError

_CONSTANTS = {"none": None, "true": True, "false": False}


def parse_value(text: str) -> Any:
    """A value of an option: JSON, a constant as Python spells it, or else the text itself.

    Raises:
        ConfigError: JSON that no option takes: objects, lists in lists, numbers of thousands of digits.
    """
    word = text.strip().lower()
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # more digits, or lists in lists, than Python reads
        raise _unusable(text) from error
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, list | dict) for item in items):
        raise _unusable(text)
    return value


def _unusable(text: str) -> ConfigError:
    return ConfigError(
        f"No option takes {text!r:.60}. Give a number, a text, true, false, none, or a list of these."
    )
