import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmbuilder import verify
from llmbuilder.bundle.manifest import MANIFEST_NAME, WEIGHTS_NAME
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine import products
from llmbuilder.errors import BundleError
from llmbuilder.testing import FakeDecoder, FakeModel, fake_engine, random_rule
from llmbuilder.verify import check_manifest, verify_bundle


class NeighbourlyDecoder(FakeDecoder):
    """Its numbers depend, in their last bit, on how many rows are computed at once."""

    def step(self, tokens):
        logits = super().step(tokens)
        return np.nextafter(logits, np.float32(np.inf)) if len(tokens) == 3 else logits


class NeighbourlyModel(FakeModel):
    def decoder(self, **_):
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
        "manifest": True,
        "tokenizer": True,
        "batch of 2": True,
        "batch of 3": True,
        "batch of 8": True,
        "prompt in parts": True,
        "reruns": True,
    }
    assert report.passed


class UnevenDecoder(FakeDecoder):
    """Its numbers depend on where prompts were cut, or on how often they were asked for."""

    def prefill(self, row, ids, keep=1):
        logits = super().prefill(row, ids, keep)
        self.model.asked += 1
        odd = self.model.asked % 2 == 0 if self.model.forgetful else len(self.rows[row]) > len(ids)
        return np.nextafter(logits, np.float32(np.inf)) if odd else logits


class UnevenModel(FakeModel):
    def __init__(self, *, forgetful):
        super().__init__(random_rule())
        self.forgetful, self.asked = forgetful, 0

    def decoder(self, **_):
        return UnevenDecoder(self)


@pytest.mark.parametrize(("forgetful", "failing"), [(False, "prompt in parts"), (True, "reruns")])
def test_numbers_that_depend_on_cuts_or_on_the_run_are_found(bundle, engine, forgetful, failing):
    engine(replace(fake_engine(random_rule()), model=UnevenModel(forgetful=forgetful)))
    assert not outcome(verify_bundle(bundle))[failing]


def test_a_bundle_for_cuda_is_proved_on_the_cpu_where_there_is_no_card_and_that_is_said(
    bundle, engine, monkeypatch
):
    directory = bundle
    manifest = replace(open_bundle(directory).manifest, device="cuda", kv_cache="float16")
    (directory / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    asked = []
    monkeypatch.setattr(
        verify,
        "load_engine",
        lambda _, *, device, threads: asked.append(device) or fake_engine(random_rule()),
    )
    report = verify_bundle(directory)
    assert asked == ["cpu"]
    assert report.passed
    assert report.checks[-1].name == "card"
    assert "not proved" in report.checks[-1].detail
    assert "no CUDA support" in report.checks[-1].detail


def test_rows_that_depend_on_their_neighbours_are_found(bundle, engine):
    engine(replace(fake_engine(random_rule()), model=NeighbourlyModel(random_rule())))
    report = verify_bundle(bundle)
    assert not report.passed
    assert [name for name, passed in outcome(report).items() if not passed] == ["batch of 3"]
    assert "0 of 3 rows equal" in report.checks[4].detail


def test_a_tokenizer_that_differs_from_export_is_found(make_bundle, engine):
    report = verify_bundle(make_bundle())
    assert outcome(report)["tokenizer"] is False
    assert "'Hello'" in report.checks[2].detail


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


def test_files_that_are_not_of_the_bundle_are_named(bundle, engine):
    for name in ("README.md", "a\x1b[31m", *map(str, range(10))):
        (bundle / name).touch()
    report = verify_bundle(bundle)
    (check,) = (check for check in report.checks if check.name == "other files")
    assert report.passed
    assert check.detail.endswith("ignored: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more")


def test_a_manifest_with_any_byte_changed_is_found():
    """Every bit has been tried, too."""
    path = Path("artifacts/storyteller/bundle") / MANIFEST_NAME
    content = path.read_bytes()
    assert check_manifest(content, path).passed
    assert [at for at in range(len(content)) if not is_found(content, at, path)] == []


def is_found(content, at, path):
    """Whether a manifest with one bit of one byte changed is refused or fails the check."""
    changed = bytearray(content)
    changed[at] ^= 1 << at % 8
    try:
        return not check_manifest(bytes(changed), path).passed
    except BundleError:
        return True


def test_a_manifest_in_another_layout_is_found():
    path = Path("artifacts/storyteller/bundle") / MANIFEST_NAME
    content = json.dumps(json.loads(path.read_bytes())).encode()
    check = check_manifest(content, path)
    assert not check.passed
    assert "its text was changed" in check.detail


def test_the_first_format_cannot_tell(bundle):
    path = Path(__file__).parent / "data" / "version_1" / MANIFEST_NAME
    assert "no digest" in check_manifest(path.read_bytes(), path).detail


def test_products_of_whole_numbers_are_compared_with_numpys_where_a_bundle_has_them(
    bundle, engine, monkeypatch
):
    manifest = replace(open_bundle(bundle).manifest, quantization="w8a8")
    (bundle / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    assert outcome(verify_bundle(bundle))["whole numbers"]
    exact = products._multiplied
    monkeypatch.setattr(products, "_multiplied", lambda *sides, **how: exact(*sides, **how).clip(max=32767))
    report = verify_bundle(bundle)
    assert [name for name, passed in outcome(report).items() if not passed] == ["whole numbers"]
    assert "exact" in report.checks[3].detail
