"""Bundles of the first format are read for ever and compute the same: the demo model, exported by the first release.

Only its manifest and graph are kept; weights and tokenizer are those of today's demo bundle, byte for byte.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from llmbuilder.bundle.manifest import GRAPH_NAME, MANIFEST_NAME, WEIGHTS_NAME
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.model import Model
from llmbuilder.generator import TextGenerator

TODAY = Path("artifacts/storyteller/bundle")
OLD = Path(__file__).parent / "data" / "version_1"
PROMPTS = ["Once upon a time", "The little fox", "One day", "In a small village there lived"]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    directory = tmp_path_factory.mktemp("version_1")
    for path in (OLD / MANIFEST_NAME, OLD / GRAPH_NAME, TODAY / WEIGHTS_NAME, TODAY / "tokenizer.model"):
        shutil.copy(path, directory)
    return directory


@pytest.fixture(scope="module")
def models(old):
    bundles = [open_bundle(directory) for directory in (old, TODAY)]
    return [Model.open(bundle.directory, bundle.manifest, threads=2) for bundle in bundles]


def test_the_two_are_of_different_versions(old, models):
    assert [open_bundle(directory).manifest.version for directory in (old, TODAY)] == [1, 2]
    assert [model.head for model in models] == ["num_logits_to_keep", "logits_start"]


def test_both_say_the_same_of_the_model(old):
    first, second = (open_bundle(directory).manifest for directory in (old, TODAY))
    assert first.model == second.model
    assert first.files[WEIGHTS_NAME] == second.files[WEIGHTS_NAME]


def test_logits_are_equal_bit_for_bit(models):
    random = np.random.default_rng(0)
    ids = random.integers(0, 2000, 40).tolist()
    old, new = (model.decoder(rows=2) for model in models)
    np.testing.assert_array_equal(old.prefill(0, ids, keep=40), new.prefill(0, ids, keep=40))
    np.testing.assert_array_equal(old.prefill(1, ids[:7]), new.prefill(1, ids[:7]))
    for tokens in random.integers(0, 2000, (8, 2)).tolist():
        np.testing.assert_array_equal(old.step(tokens), new.step(tokens))


@pytest.mark.parametrize("options", [{"do_sample": False}, {"seed": 3}, {"do_sample": False, "num_beams": 3}])
def test_texts_are_equal(old, options):
    texts = []
    for directory in (old, TODAY):
        with TextGenerator(directory, threads=2) as generator:
            texts.append(generator.generate_batch(PROMPTS, max_new_tokens=40, **options))
    assert texts[0] == texts[1]


def test_the_old_manifest_can_be_written_anew(old, tmp_path):
    manifest = open_bundle(old).manifest
    shutil.copytree(old, tmp_path / "anew")
    (tmp_path / "anew" / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    anew = open_bundle(tmp_path / "anew").manifest
    assert (anew.version, anew.model, anew.files) == (2, manifest.model, manifest.files)
    assert json.loads((OLD / MANIFEST_NAME).read_text(encoding="utf-8"))["version"] == 1
