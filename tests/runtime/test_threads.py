"""How many threads compute a model."""

from dataclasses import replace

import pytest

from llmbuilder.bundle.manifest import LayerCache, ModelFacts
from llmbuilder.engine.session import check_execution
from llmbuilder.engine.threads import usable_threads
from llmbuilder.errors import ConfigError

FACTS = ModelFacts(
    architecture="tiny",
    vocab_size=40,
    context_length=96,
    hidden_size=16,
    num_attention_heads=6,
    parameters=1000,
    layers=(LayerCache(heads=2, key_size=8, value_size=8),) * 3,
)
UNEVEN = replace(FACTS, layers=(*FACTS.layers, LayerCache(heads=3, key_size=8, value_size=8)))


@pytest.mark.parametrize(("asked", "used"), [(1, 1), (6, 6), (7, 6), (1024, 6)])
def test_no_more_threads_than_a_row_has_heads_compute_it(asked, used):
    assert usable_threads(FACTS, asked) == used


def test_by_default_they_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr("llmbuilder.engine.threads.available_threads", lambda: 4)
    assert usable_threads(FACTS) == 4


def test_where_layers_differ_the_smallest_counts():
    assert usable_threads(UNEVEN, 16) == 2


@pytest.mark.parametrize("asked", [0, -1, 1025, 10**9, True, 1.5, "2"])
def test_numbers_that_would_start_more_than_any_machine_has_are_refused(asked):
    with pytest.raises(ConfigError, match="threads must be a whole number from 1 to 1024, or None, got"):
        check_execution("cpu", asked)
