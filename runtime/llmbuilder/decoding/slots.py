"""Where rows stand in the cache."""

from collections.abc import Sequence


def plan_slots(sources: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Place rows that continue from other rows into slots 0..n-1 with the fewest copies.

    Every source keeps its first continuation in place; the others, and those whose source lies beyond n, fill the
    slots nobody continues. A copy therefore never overwrites a slot that is still read.

    Args:
        sources: for each of the n new rows, the slot it continues.

    Returns:
        The slot of each new row (a permutation of 0..n-1), and the copies (source, target) to make in any order.
    """
    count = len(sources)
    slots: list[int] = [-1] * count
    kept: set[int] = set()
    for row, source in enumerate(sources):
        if source < count and source not in kept:
            kept.add(source)
            slots[row] = source
    free = iter(slot for slot in range(count) if slot not in kept)
    copies = []
    for row, source in enumerate(sources):
        if slots[row] < 0:
            slots[row] = next(free)
            copies.append((source, slots[row]))
    return slots, copies
