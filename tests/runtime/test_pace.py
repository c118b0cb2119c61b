"""How large chunks of prompts are: while others stream, as long as steps of all take."""

import pytest
from clocks import Clock

from llmbuilder.decoding.rows import Filling
from llmbuilder.scheduling.pace import LEAST, Pace
from llmbuilder.testing import FakeModel, random_rule

MOST = 512


@pytest.fixture
def pace():
    return Pace(Clock())


def chunk(pace, rows=1, texts=(), streaming=True):
    return pace.chunk(MOST, streaming=streaming, rows=rows, texts=texts)


def step(pace, *rows, fixed=0.01, each=0.002):
    """Steps of so many rows, which take a part of their time for every row."""
    for count in rows:
        pace.stepped(count, fixed + each * count)


def test_it_is_the_largest_while_nobody_streams_or_nothing_is_known(pace):
    assert chunk(pace, streaming=False) == chunk(pace) == MOST
    pace.stepped(1, 0.1)
    assert chunk(pace) == MOST
    pace.filled(100, 0.1)
    assert chunk(pace, streaming=False) == MOST


@pytest.mark.parametrize(("step", "size"), [(0.1, 100), (0.0001, LEAST), (10.0, MOST)])
def test_it_takes_as_long_as_a_step_within_its_bounds(pace, step, size):
    pace.stepped(1, step)
    pace.filled(500, 0.5)
    assert chunk(pace) == pytest.approx(size, abs=1)


def test_it_follows_what_changes_and_is_not_led_astray_by_one_measurement(pace):
    pace.filled(500, 0.5)
    for _ in range(50):
        pace.stepped(1, 0.1)
    pace.stepped(1, 1.0)
    assert 100 < chunk(pace) < 300
    for _ in range(50):
        pace.stepped(1, 0.2)
    assert chunk(pace) == pytest.approx(200, abs=2)


@pytest.mark.parametrize(("now", "rows"), [(4, 4), (4, 32), (31, 32), (32, 32), (32, 1)])
def test_a_chunk_and_a_step_take_twice_a_step_of_all_who_have_joined(pace, now, rows):
    """So those who stream wait as long whether few rows step beside many prompts or many beside none."""
    pace.filled(500, 0.5)
    step(pace, *range(1, 33), now)
    together = 0.001 * chunk(pace, rows) + 0.01 + 0.002 * now
    assert together == pytest.approx(2 * (0.01 + 0.002 * max(now, rows)), rel=0.05)


def test_nothing_is_known_of_more_rows_while_all_steps_have_had_as_many(pace):
    pace.filled(500, 0.5)
    step(pace, *[4] * 50, fixed=0.1, each=0)
    assert chunk(pace, rows=32) == pytest.approx(100, abs=1)


def test_a_step_of_more_rows_takes_neither_less_nor_more_for_each_row(pace):
    pace.filled(500, 0.5)
    for count in range(1, 9):
        pace.stepped(count, 0.1 / count)
    fewer = chunk(pace, rows=8)
    assert chunk(pace, rows=64) == fewer
    for count in range(1, 9):
        pace.stepped(count, 0.001 * count**2)
    assert chunk(pace, rows=8) < chunk(pace, rows=16) < 4 * chunk(pace, rows=8)


@pytest.mark.parametrize(
    ("texts", "size"),
    [((90,), 90), ((50, 40, 7), 97), ((50, 20), 100), ((130,), 100), ((60, 30, 60), 90), ((), 100)],
)
def test_it_ends_where_a_prompt_ends_that_fills_most_of_it(pace, texts, size):
    pace.stepped(1, 0.1)
    pace.filled(500, 0.5)
    assert chunk(pace, texts=texts) == pytest.approx(size, abs=1)


def test_decoders_tell_what_they_take(pace):
    """Two milliseconds for each token of a prompt, ten for a step."""
    model = FakeModel(random_rule())
    take, real = pace.clock, model.decoder

    def opened(**room):
        decoder = real(**room)
        prefill, step = decoder.prefill, decoder.step

        def slow_prefill(row, ids, keep=1):
            take.now += 0.002 * len(ids)
            return prefill(row, ids, keep)

        def slow_step(tokens):
            take.now += 0.1
            return step(tokens)

        decoder.prefill, decoder.step = slow_prefill, slow_step
        return decoder

    decoder = pace.measuring(opened)()
    filling = decoder.begin(0, list(range(20)))
    assert isinstance(filling, Filling)
    while not filling.finished:
        filling.advance(7)
    decoder.step([5])
    assert chunk(pace) == pytest.approx(50, abs=1)
    assert decoder.lengths == [21]
