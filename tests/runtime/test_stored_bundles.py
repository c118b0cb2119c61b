"""The demo bundle, stored in the ways that people store bundles, tells the same story."""

import os
import shutil
from pathlib import Path

import pytest

from llmbuilder.generator import TextGenerator
from llmbuilder.userdata import file_sha256

BUNDLE = Path("artifacts/storyteller/bundle").absolute()


def copied(tmp_path):
    return Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))


def as_the_hub_stores_it(tmp_path):
    """Links into ``blobs``, with files beside them that are not the bundle's."""
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in BUNDLE.iterdir():
        blob = Path(shutil.copy(path, blobs / file_sha256(path)))
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    for name in ("README.md", ".gitattributes"):
        (blobs / name).write_text("Not of the bundle.")
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    return snapshot


def copied_with_hard_links(tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    return Path(shutil.copytree(tmp_path / "bundle", tmp_path / "backup", copy_function=os.link))


def linked_as_a_directory(tmp_path):
    (tmp_path / "alias").symlink_to(BUNDLE, target_is_directory=True)
    return tmp_path / "alias"


def linked_file_by_file(tmp_path):
    (tmp_path / "linked").mkdir()
    for path in BUNDLE.iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)
    return tmp_path / "linked"


def in_a_directory_with_an_odd_name(tmp_path):
    return Path(shutil.copytree(BUNDLE, tmp_path / "märchen 🦊 'x'"))


def tell(directory):
    with TextGenerator(directory, threads=1) as generator:
        return generator.generate("Once upon a time", max_new_tokens=20, seed=1)


@pytest.fixture(scope="module")
def story():
    return tell(BUNDLE)


@pytest.mark.parametrize(
    "store",
    [
        copied,
        as_the_hub_stores_it,
        copied_with_hard_links,
        linked_as_a_directory,
        linked_file_by_file,
        in_a_directory_with_an_odd_name,
    ],
)
def test_a_stored_bundle_tells_the_same_story(tmp_path, store, story):
    assert tell(store(tmp_path)) == story
