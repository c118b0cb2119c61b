"""How a bundle comes to its place: whole or not at all, and nothing is left of exports that were killed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from llmbuilder.errors import ExportError
from llmbuilder_export.staging import _clear_abandoned, refuse_unusable, staged

FILES = {"model.onnx", "manifest.json"}


@pytest.fixture
def output(tmp_path):
    return tmp_path / "bundle"


def fill(folder: Path, text: str) -> None:
    """Make a bundle of two files."""
    (folder / "model.onnx").write_text(text)
    listed = {"format": "llmbuilder-bundle", "files": {"model.onnx": {}, "notes": {}}}
    (folder / "manifest.json").write_text(json.dumps(listed))


def publish(output: Path, text: str) -> None:
    with staged(output, overwrite=True) as folder:
        fill(folder, text)


def abandoned(output: Path, *parts: str, name: str = "abcdefgh") -> Path:
    """What a killed export has left: its directory with these parts of it."""
    place = output.with_name(f".{output.name}-{name}.export")
    place.mkdir()
    (place / "lock").touch()
    for part in parts:
        (place / part).mkdir()
        fill(place / part, part)
    return place


def content(output: Path) -> str:
    return (output / "model.onnx").read_text()


def names(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir())


@pytest.mark.parametrize("parts", [(), ("new",), ("old",), ("new", "old")])
def test_what_nobody_holds_is_removed_by_the_next_export(output, parts):
    publish(output, "present")
    abandoned(output, *parts)
    refuse_unusable(output, overwrite=True)
    assert names(output) == ["bundle"]
    assert content(output) == "present"


def test_an_old_bundle_is_put_back_if_its_replacement_never_came(output):
    abandoned(output, "new", "old")
    with pytest.raises(ExportError, match="--overwrite"):
        refuse_unusable(output, overwrite=False)
    assert names(output) == ["bundle"]
    assert content(output) == "old"


def test_an_old_bundle_stays_away_if_its_replacement_came_and_was_removed_since(output):
    abandoned(output, "old")
    refuse_unusable(output, overwrite=False)
    assert names(output) == []


def test_what_is_held_stays(output):
    place = abandoned(output, "new", "old")
    with FileLock(place / "lock"):
        refuse_unusable(output, overwrite=False)
        assert names(output) == [place.name]
    with pytest.raises(ExportError, match="--overwrite"):
        refuse_unusable(output, overwrite=False)


@pytest.mark.parametrize("other", ["bundle-2", "bundl", "bundle-abcdefgh", "undle"])
def test_what_was_left_for_another_output_stays(output, other):
    place = abandoned(output.with_name(other), "new", "old")
    refuse_unusable(output, overwrite=False)
    assert names(output) == [place.name]


def test_what_only_looks_like_it_stays(output):
    place = abandoned(output)
    (place / "thesis.txt").touch()
    elsewhere = output.with_name("elsewhere")
    elsewhere.mkdir()
    fill(elsewhere, "precious")
    linked = output.with_name(".bundle-aaaaaaaa.export")
    linked.symlink_to(elsewhere)
    plain = output.with_name(".bundle-bbbbbbbb.export")
    plain.touch()
    refuse_unusable(output, overwrite=False)
    assert {place, elsewhere, linked, plain} <= set(output.parent.iterdir())
    assert (place / "thesis.txt").exists()
    assert content(elsewhere) == "precious"


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failure_at_either_rename_keeps_the_old_bundle(output, monkeypatch, failing):
    publish(output, "old")
    renames = []

    def rename(path, target, original=Path.rename):
        renames.append(path)
        if len(renames) == failing:
            raise OSError(5, "Input/output error", str(path))
        return original(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ExportError, match=r"cannot be written .*Input/output error"):
        publish(output, "new")
    assert names(output) == ["bundle"]
    assert content(output) == "old"


def test_an_old_bundle_that_cannot_be_put_back_is_named_and_tried_again(output, monkeypatch):
    publish(output, "old")
    original = Path.rename

    def rename(path, target):
        if path == output:
            return original(path, target)
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ExportError, match=r"cannot be put back there.*it is in .*old\. Move it by hand"):
        publish(output, "new")
    monkeypatch.undo()
    refuse_unusable(output, overwrite=True)
    assert names(output) == ["bundle"]
    assert content(output) == "old"


def test_a_file_that_comes_into_a_bundle_while_it_is_replaced_is_kept(output, monkeypatch):
    publish(output, "old")

    def rename(path, target, original=Path.rename):
        if path == output:
            (path / "thesis.txt").write_text("years of work")
        return original(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    publish(output, "new")
    assert (output / "thesis.txt").read_text() == "years of work"
    assert content(output) == "new"
    assert names(output) == ["bundle"]


def test_a_directory_is_no_file_of_a_bundle_whatever_the_manifest_says(output):
    publish(output, "old")
    (output / "notes").mkdir()
    (output / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"not of the bundle \(notes\)"):
        publish(output, "new")
    assert (output / "notes" / "thesis.txt").read_text() == "years of work"


def test_a_link_to_a_bundle_is_replaced_and_the_bundle_is_not_touched(output):
    publish(output.with_name("elsewhere"), "precious")
    output.symlink_to("elsewhere")
    publish(output, "new")
    assert not output.is_symlink()
    assert content(output) == "new"
    assert content(output.with_name("elsewhere")) == "precious"


def test_a_link_to_nothing_is_not_replaced(output):
    output.symlink_to("nowhere")
    with pytest.raises(ExportError, match="not a bundle"):
        publish(output, "new")
    assert output.readlink() == Path("nowhere")


def test_an_export_that_another_clears_away_before_it_has_its_lock_goes_on(output, monkeypatch):
    """Between making its directory and locking it, an export has nothing that says it is alive."""
    original, cleared = tempfile.mkdtemp, []

    def mkdtemp(*arguments, **options):
        path = Path(original(*arguments, **options))
        if not cleared:
            cleared.append(path)
            _clear_abandoned(output)
            assert not path.exists()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    publish(output, "new")
    assert cleared
    assert content(output) == "new"
    assert names(output) == ["bundle"]


def test_an_export_killed_at_any_step_leaves_nothing_behind(tmp_path):
    program = Path(__file__).with_name("kill_exports.py")
    results = tmp_path / "results.json"
    subprocess.run([sys.executable, program, f"--results={results}", "--kills=3", "--whole=0"], check=True)
    measured = json.loads(results.read_text())
    assert measured["wrong"] == []
    assert measured["old_bundles_put_back"] > 0
    assert measured["kills"] > 50
