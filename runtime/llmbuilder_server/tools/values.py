"""Values of JSON that clients send inside others."""

from typing import Any

from llmbuilder_server.errors import ApiError

_DEEPEST = 64


def check_depth(place: str, value: Any) -> None:
    """Refuse lists and objects inside each other that nobody can go through.

    Raises:
        ApiError: they are.
    """
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return
    raise ApiError(
        400,
        f"{place} may have {_DEEPEST} lists and objects inside each other. Write it flatter.",
        param=place,
    )


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
