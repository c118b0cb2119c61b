"""Which turns of a long conversation still fit the model's window."""

from collections.abc import Sequence

KEPT = 3 / 4
"""Share of the room that is filled again when turns are dropped.

With less than all, several replies can follow before the next turn must go; until then the prompt only grows, so that
what was computed of it can be used again."""


def oldest_kept(costs: Sequence[int], room: int) -> int:
    """Index of the first turn that stays, ``len(costs) - 1`` at most: the last one always stays.

    The conversation is gone through as it grew, so that the answer does not jump about from turn to turn.

    Args:
        costs: tokens of each turn, in order.
        room: tokens that there is room for.
    """
    oldest = used = 0
    for newest, cost in enumerate(costs):
        used += cost
        if used > room:
            while oldest < newest and used > KEPT * room:
                used -= costs[oldest]
                oldest += 1
    return oldest
