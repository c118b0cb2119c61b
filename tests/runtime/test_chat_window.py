"""Which turns stay when the window is full."""

from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.chat.window import oldest_kept

COSTS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


def test_everything_that_fits_stays():
    assert oldest_kept([5, 5, 5], 15) == 0


def test_the_oldest_go_until_there_is_room_for_more():
    assert oldest_kept([5, 5, 5, 5], 16) == 2


def test_the_last_stays_however_long():
    assert oldest_kept([5, 99], 10) == 1


@given(COSTS, st.integers(1, 200))
def test_what_stays_fits_unless_it_is_the_last_alone(costs, room):
    oldest = oldest_kept(costs, room)
    assert sum(costs[oldest:]) <= room or oldest == len(costs) - 1


@given(COSTS, st.integers(1, 200))
def test_turns_that_went_do_not_come_back(costs, room):
    kept = [oldest_kept(costs[:n], room) for n in range(1, len(costs) + 1)]
    assert kept == sorted(kept)
