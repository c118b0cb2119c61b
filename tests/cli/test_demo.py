"""``llmb demo``: the model that comes along."""

from pathlib import Path

import pytest

from llmbuilder import demo
from llmbuilder.bundle.opening import is_bundle
from llmbuilder.errors import ModelNotFoundError


def test_it_tells_a_story_that_begins_as_it_is_told(llmb):
    result = llmb("demo", "The little fox")
    assert result.exit_code == 0
    assert result.stdout.startswith("The little fox")
    assert len(result.stdout) > 100


def test_it_says_where_the_model_is(llmb):
    result = llmb("demo", "--path")
    assert is_bundle(Path(result.stdout.strip()))


def test_a_copy_without_it_says_so(llmb, monkeypatch):
    monkeypatch.setattr(demo, "_PLACES", ())
    with pytest.raises(
        ModelNotFoundError, match=r"not here\. Install llmbuilder-runtime from its wheel or clone"
    ):
        demo.demo_model()
