import numpy as np
import pytest

from llmbuilder.decoding.slots import plan_slots
from llmbuilder.engine.cache import CacheLayout, KVCache

HEADS, HEAD_DIM = 2, 3
BYTES_PER_TOKEN = HEADS * HEAD_DIM * 4 * 2  # float32, one layer's keys and values


def make_cache(slots=1, capacity=4, limit=16):
    outputs = {"past.0.key": "present.0.key", "past.0.value": "present.0.value"}
    return KVCache(
        CacheLayout(outputs, HEADS, HEAD_DIM, np.dtype(np.float32)),
        slots=slots,
        capacity=capacity,
        limit=limit,
    )


def write(cache, slot, tokens):
    """Fill a slot with numbers that say which slot and token they are of."""
    cache.lengths[slot] = tokens
    for name, view in cache.views(slot, 1).items():
        sign = 1 if name.endswith("key") else -1
        view[0, :, :tokens] = sign * (100 * slot + np.arange(1, tokens + 1))[None, :, None]


def content(cache, slot):
    """The valid tokens of a slot, of keys and values."""
    return [view[0, :, : cache.lengths[slot]].copy() for view in cache.views(slot, 1).values()]


def test_views_share_memory_with_the_cache_and_are_contiguous():
    cache = make_cache(slots=3)
    for view in cache.views(1, 2).values():
        assert view.shape == (2, HEADS, 4, HEAD_DIM)
        assert view.flags.c_contiguous
        view[:] = 7
    assert all((view == 7).all() for view in cache.views(2, 1).values())
    assert all((view == 0).all() for view in cache.views(0, 1).values())


def test_capacity_never_exceeds_the_window():
    assert make_cache(capacity=1000, limit=16).capacity == 16


@pytest.mark.parametrize("asked", [{}, {"slots": 1}, {"capacity": 4}, {"slots": 1, "capacity": 1}])
def test_reserving_what_is_there_changes_nothing(asked):
    cache = make_cache()
    before = cache.views(0, 1)
    assert cache.reserve(**asked) is False
    assert all(np.shares_memory(before[name], view) for name, view in cache.views(0, 1).items())


@pytest.mark.parametrize(
    ("asked", "slots", "capacity"),
    [
        ({"slots": 3}, 4, 4),
        ({"slots": 9}, 9, 4),
        ({"capacity": 5}, 2, 8),
        ({"capacity": 11}, 2, 11),
        ({"slots": 3, "capacity": 5}, 4, 8),
    ],
)
def test_growth_doubles_or_takes_what_is_asked(asked, slots, capacity):
    cache = make_cache(slots=2)
    assert cache.reserve(**asked) is True
    assert (cache.slots, cache.capacity) == (slots, capacity)
    assert all(view.shape[0] == slots for view in cache.views(0, slots).values())


def test_growth_ends_at_the_window():
    cache = make_cache(limit=6)
    cache.reserve(capacity=5)
    assert cache.capacity == 6


def test_growth_keeps_every_slots_tokens():
    cache = make_cache(slots=2)
    write(cache, 0, 4)
    write(cache, 1, 2)
    before = [content(cache, slot) for slot in (0, 1)]
    cache.reserve(slots=5, capacity=9)
    assert cache.lengths == [4, 2, 0, 0, 0]
    for slot in (0, 1):
        np.testing.assert_array_equal(content(cache, slot), before[slot])


def test_copying_moves_only_valid_tokens():
    cache = make_cache(slots=2)
    write(cache, 0, 3)
    write(cache, 1, 4)
    cache.copy(0, 1)
    np.testing.assert_array_equal(content(cache, 0), content(cache, 1))
    assert cache.lengths == [3, 3]
    assert cache.bytes_copied == 3 * BYTES_PER_TOKEN


def test_growing_to_the_window_copies_less_than_twice_its_bytes():
    cache = make_cache(capacity=1, limit=1024)
    for tokens in range(1, 1025):
        cache.reserve(capacity=tokens)
        cache.lengths[0] = tokens
    assert cache.bytes_copied < 2 * 1024 * BYTES_PER_TOKEN


@pytest.mark.parametrize(
    ("sources", "slots", "copies"),
    [
        ([], [], []),
        ([0, 1, 2], [0, 1, 2], []),
        ([2, 0, 1], [2, 0, 1], []),
        ([0, 2], [0, 1], [(2, 1)]),
        ([3], [0], [(3, 0)]),
        ([0, 0, 0], [0, 1, 2], [(0, 1), (0, 2)]),
        ([1, 1, 2], [1, 0, 2], [(1, 0)]),
    ],
)
def test_rows_stay_where_they_are_if_they_can(sources, slots, copies):
    assert plan_slots(sources) == (slots, copies)
