import os
from dataclasses import replace

import numpy as np
import pytest

from llmbuilder import verify
from llmbuilder.bundle.manifest import MANIFEST_NAME, WEIGHTS_NAME
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.errors import BundleError
from llmbuilder.testing import FakeDecoder, FakeModel, fake_engine, random_rule
from llmbuilder.verify import verify_bundle


class NeighbourlyDecoder(FakeDecoder):
    """Its numbers depend, in their last bit, on how many rows are computed at once."""

    def step(self, tokens):
        logits = super().step(tokens)
        return np.nextafter(logits, np.float32(np.inf)) if len(tokens) == 3 else logits


class NeighbourlyModel(FakeModel):
    def decoder(self, *, rows=1, capacity=256):
        return NeighbourlyDecoder(self)


@pytest.fixture
def bundle(make_bundle):
    """A bundle whose golden text is encoded as the fake tokenizer does."""
    directory = make_bundle()
    manifest = open_bundle(directory).manifest
    facts = replace(manifest.tokenizer, golden=(("Hello", tuple(b"Hello")),))
    (directory / MANIFEST_NAME).write_text(replace(manifest, tokenizer=facts).to_json(), encoding="utf-8")
    return directory


@pytest.fixture
def engine(monkeypatch):
    """Loads this in place of the bundle's model."""

    def use(engine):
        monkeypatch.setattr(verify, "load_engine", lambda path, *, device, threads: engine)

    use(fake_engine(random_rule()))
    return use


def outcome(report):
    return {check.name: check.passed for check in report.checks}


def test_a_good_bundle_passes_every_check(bundle, engine):
    report = verify_bundle(bundle)
    assert outcome(report) == {
        "files": True,
        "tokenizer": True,
        "batch of 2": True,
        "batch of 3": True,
        "batch of 8": True,
    }
    assert report.passed


def test_rows_that_depend_on_their_neighbours_are_found(bundle, engine):
    engine(replace(fake_engine(random_rule()), model=NeighbourlyModel(random_rule())))
    report = verify_bundle(bundle)
    assert not report.passed
    assert [name for name, passed in outcome(report).items() if not passed] == ["batch of 3"]
    assert "0 of 3 rows equal" in report.checks[3].detail


def test_a_tokenizer_that_differs_from_export_is_found(make_bundle, engine):
    report = verify_bundle(make_bundle())
    assert outcome(report)["tokenizer"] is False
    assert "'Hello'" in report.checks[1].detail


@pytest.mark.parametrize("window", [1, 2, 5, 64])
def test_small_windows_are_no_obstacle(bundle, engine, window):
    engine(fake_engine(random_rule(), context_length=window))
    assert verify_bundle(bundle).passed


def test_a_changed_file_is_found_even_if_its_time_was_kept(bundle, engine):
    open_bundle(bundle)
    weights = bundle / WEIGHTS_NAME
    status = weights.stat()
    weights.write_bytes(b"\1" * 100)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(BundleError, match="was changed"):
        verify_bundle(bundle)
