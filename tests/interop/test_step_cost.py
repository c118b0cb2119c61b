"""A step costs the same at the beginning and at the end of a long text: nothing is copied, nothing grows."""

import tracemalloc

import pytest
from upstream_cases import SAMPLE

CASE = SAMPLE[-1]


@pytest.fixture
def model(exported, engine_of):
    return engine_of(exported(CASE)).model


def live_bytes(model, tokens):
    return model.bytes_per_token * tokens


def test_a_text_within_the_reserved_room_copies_nothing(model):
    decoder = model.decoder(capacity=CASE.window)
    decoder.prefill(0, [1, 2, 3])
    for _ in range(CASE.window - 3):
        decoder.step([4])
    assert decoder.lengths[0] == CASE.window
    assert decoder.cache.bytes_copied == 0


def test_growth_copies_each_token_once_on_average(model):
    decoder = model.decoder(capacity=1)
    decoder.prefill(0, [1])
    copied = []
    for _ in range(CASE.window - 1):
        decoder.step([4])
        copied.append(decoder.cache.bytes_copied)
    assert 0 < copied[-1] <= live_bytes(model, CASE.window)
    growths = len(set(copied) - {0})
    assert growths <= 2, "room is doubled, not added token by token"


def test_memory_allocated_in_a_step_does_not_grow_with_the_text(model):
    decoder = model.decoder(capacity=CASE.window)
    decoder.prefill(0, [1, 2])
    decoder.step([3])  # binds its arrays, once
    tracemalloc.start()
    try:
        peaks = []
        while decoder.lengths[0] < CASE.window:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            decoder.step([4])
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert max(peaks) < 4096
    assert max(peaks) < live_bytes(model, 2)
