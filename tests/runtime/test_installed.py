"""What is installed is seen without loading `importlib.metadata`, and as it sees it."""

import subprocess
import sys
import zipfile
from importlib import metadata
from types import SimpleNamespace

import pytest

from llmbuilder import installed

RECORD = "Metadata-Version: 2.1\nName: {}\nVersion: 2.0.0\n"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The only place on the path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def record(folder, name, file="METADATA"):
    (folder / name).mkdir()
    (folder / name / file).write_text(RECORD.format("some-thing"))


@pytest.mark.parametrize("name", ["some-thing", "some_thing", "Some.Thing"])
@pytest.mark.parametrize(
    ("folder", "file"),
    [("some_thing-2.0.0.dist-info", "METADATA"), ("Some.Thing-2.0.0.egg-info", "PKG-INFO")],
)
def test_a_distribution_is_found_however_its_name_is_spelled(path, name, folder, file):
    record(path, folder, file)
    assert installed.has(name)
    assert installed.version(name) == metadata.version(name) == "2.0.0"


@pytest.mark.parametrize(
    "folder", ["something-2.0.0.dist-info", "some_thing_else-2.0.0.dist-info", "some_thing"]
)
def test_what_is_called_otherwise_is_another(path, folder):
    record(path, folder)
    assert not installed.has("some-thing")
    assert installed.version("some-thing") is None


def test_the_empty_folder_of_one_that_was_removed_is_none(path):
    (path / "some_thing-2.0.0.dist-info").mkdir()
    assert not installed.has("some-thing")


def test_places_that_are_not_there_hold_nothing(path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(path / "missing"), ""])
    monkeypatch.chdir(path)
    assert not installed.has("some-thing")
    record(path, "some_thing-2.0.0.dist-info")
    assert installed.has("some-thing")


def test_archives_are_looked_into(path, monkeypatch):
    with zipfile.ZipFile(path / "all.zip", "w") as archive:
        archive.writestr("some_thing-2.0.0.dist-info/METADATA", RECORD.format("some-thing"))
    monkeypatch.setattr(sys, "path", [str(path / "all.zip")])
    assert installed.has("some-thing")
    assert not installed.has("other")


def test_eggs_are_looked_into(path, monkeypatch):
    egg = path / "some_thing-2.0.0.egg"
    egg.mkdir()
    record(egg, "EGG-INFO", "PKG-INFO")
    monkeypatch.setattr(sys, "path", [str(egg)])
    assert installed.has("some-thing")


def test_importers_that_know_distributions_are_asked(path, monkeypatch):
    found = SimpleNamespace(metadata={"Name": "some-thing"}, version="2.0.0")
    finder = SimpleNamespace(find_spec=lambda *_: None, find_distributions=lambda context: iter([found]))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert installed.has("some-thing")
    assert installed.version("some-thing") == "2.0.0"


def test_all_that_is_installed_here_is_found():
    names = {found.metadata["Name"] for found in metadata.distributions()}
    assert {name for name in names if not installed.has(name)} == set()


def test_a_file_may_be_a_record(path):
    (path / "some_thing-2.0.0.egg-info").write_text(RECORD.format("some-thing"))
    assert installed.has("some-thing")
    assert installed.version("some-thing") == "2.0.0"


def test_importing_the_package_does_not_load_the_reader_of_metadata():
    program = (
        "import sys; sys.modules.pop('importlib.metadata', None); import llmbuilder; "
        "assert 'importlib.metadata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
