"""How large chunks of prompts are: while others stream, about as long as one of their steps takes."""

import pytest
from clocks import Clock

from llmbuilder.decoding.rows import Filling
from llmbuilder.scheduling.pace import LEAST, Pace
from llmbuilder.testing import FakeModel, random_rule

MOST = 512


@pytest.fixture
def pace():
    return Pace(Clock())


def test_it_is_the_largest_while_nobody_streams_or_nothing_is_known(pace):
    assert pace.chunk(MOST, streaming=False) == pace.chunk(MOST, streaming=True) == MOST
    pace.stepped(0.1)
    assert pace.chunk(MOST, streaming=True) == MOST
    pace.filled(100, 0.1)
    assert pace.chunk(MOST, streaming=False) == MOST


@pytest.mark.parametrize(("step", "size"), [(0.1, 100), (0.0001, LEAST), (10.0, MOST)])
def test_it_takes_as_long_as_a_step_within_its_bounds(pace, step, size):
    pace.stepped(step)
    pace.filled(500, 0.5)
    assert pace.chunk(MOST, streaming=True) == pytest.approx(size, abs=1)


def test_it_follows_what_changes_and_is_not_led_astray_by_one_measurement(pace):
    pace.filled(500, 0.5)
    for _ in range(50):
        pace.stepped(0.1)
    pace.stepped(1.0)
    assert 100 < pace.chunk(MOST, streaming=True) < 300
    for _ in range(50):
        pace.stepped(0.2)
    assert pace.chunk(MOST, streaming=True) == pytest.approx(200, abs=2)


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
    assert pace.chunk(MOST, streaming=True) == pytest.approx(50, abs=1)
    assert decoder.lengths == [21]
