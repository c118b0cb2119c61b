"""A full disk: whatever is written is whole or not there, what was there stays, and the error names the file."""

from pathlib import Path

import pytest
from full_disks import DEVICE, limited_to

from llmbuilder.bundle.resolve import find_bundle
from llmbuilder.cleanup import replace_file
from llmbuilder.errors import ConfigError, FileError
from llmbuilder.files import resuming
from llmbuilder.files.jsonl import generate_file
from llmbuilder.sessions.conversation import Saved, load_conversation, save_conversation
from llmbuilder.userdata import file_sha256, remembered_sha256

TURNS = Saved([{"user": "Who?", "assistant": "A fox. " * 200}])


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "p{n}", "max_new_tokens": {n + 1}, "seed": 1}}\n' for n in range(9))
    )
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.jsonl"


@DEVICE
def test_completions_for_a_full_disk_are_an_error_that_names_the_file_and_what_to_do(random, source):
    with pytest.raises(
        FileError, match=r"/dev/full cannot be written: No space left on device. Make room, then resume"
    ):
        generate_file(random, source, Path("/dev/full"), overwrite=True)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_disk_that_fills_up_keeps_whole_completions_only_and_the_run_is_resumed(
    random, source, target, share
):
    generate_file(random, source, target)
    whole = target.read_bytes()
    target.unlink()
    room = int(len(whole) * share)
    with (
        limited_to(room),
        pytest.raises(FileError, match=r"out.jsonl cannot be written: File too large. Make room, then res"),
    ):
        generate_file(random, source, target)
    assert target.read_bytes() == whole[: whole.rfind(b"\n", 0, room) + 1]
    generate_file(random, source, target, resume=True)
    assert target.read_bytes() == whole


def test_the_note_of_a_run_is_whole_or_not_there(target):
    with limited_to(10):
        resuming.begin(target, {"model": None})
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("old", [None, Saved([{"user": "Old?", "assistant": "Yes."}])])
def test_a_conversation_is_saved_whole_or_stays_what_it_was(tmp_path, old):
    path = tmp_path / "c.json"
    if old is not None:
        save_conversation(path, old)
    with (
        limited_to(100),
        pytest.raises(ConfigError, match=r"c\.json cannot be written: File too large\. Name"),
    ):
        save_conversation(path, TURNS)
    assert [each.name for each in tmp_path.iterdir()] == (["c.json"] if old else [])
    assert old is None or load_conversation(path) == old


def test_what_cannot_be_remembered_is_computed_again(source, cache_home):
    with limited_to(10):
        assert remembered_sha256(source) == file_sha256(source)
    assert [path for path in cache_home.rglob("*") if path.is_file()] == []


def test_a_bundle_that_has_no_room_is_an_error_that_names_it(tmp_path, monkeypatch):
    checkpoint = tmp_path / "model.pt"
    checkpoint.touch()
    monkeypatch.setattr("llmbuilder.bundle.resolve.exporter", lambda: ["python"])
    monkeypatch.setattr("llmbuilder.bundle.resolve.os.access", lambda *_: False)
    monkeypatch.setattr("llmbuilder.bundle.resolve.cache_directory", lambda: checkpoint / "cache")
    with pytest.raises(FileError, match=r"model\.pt/cache/bundles/\w+ cannot be written: Not a directory"):
        find_bundle(checkpoint, None)


def test_a_link_to_a_file_that_is_replaced_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    replace_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@DEVICE
def test_a_device_is_written_to_and_never_replaced(tmp_path):
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "link", "new")
    assert Path("/dev/full").is_char_device()
