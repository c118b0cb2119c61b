import hashlib
import os
import time

import pytest

from llmbuilder.userdata import cache_directory, file_sha256, remembered_sha256


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"1234")
    return path


@pytest.fixture
def counted():
    """A stand-in for hashing that records what it was asked for."""

    def compute(path):
        compute.calls.append(path)
        return file_sha256(path)

    compute.calls = []
    return compute


def notes():
    return [path for path in cache_directory().rglob("*") if path.is_file()]


def test_the_hash_is_sha256_in_hex(file):
    assert file_sha256(file) == hashlib.sha256(b"1234").hexdigest()


def test_a_file_is_hashed_once(file, counted):
    assert remembered_sha256(file, counted) == remembered_sha256(file, counted) == file_sha256(file)
    assert counted.calls == [file]


def test_notes_lie_in_the_users_cache_directory(file, cache_home):
    remembered_sha256(file)
    assert [path.is_relative_to(cache_home) for path in notes()] == [True]


def change_size(path):
    path.write_bytes(b"12345")


def change_time(path):
    os.utime(path, ns=(1, 1))


def change_inode(path):
    status = path.stat()
    copy = path.with_suffix(".copy")
    copy.write_bytes(b"4321")
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)


def change_content_and_set_the_time_back(path):
    status = path.stat()
    time.sleep(0.02)  # the system's clock for files ticks every few milliseconds
    path.write_bytes(b"4321")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [change_size, change_time, change_inode, change_content_and_set_the_time_back]
)
def test_another_size_time_or_inode_is_another_file(file, counted, change):
    remembered_sha256(file, counted)
    change(file)
    assert remembered_sha256(file, counted) == file_sha256(file)
    assert len(counted.calls) == 2


@pytest.mark.parametrize("damage", [b"", b"12", b"\0" * 64, b"\xff" * 64, b"z" * 64])
def test_a_damaged_note_costs_a_second_look_and_is_repaired(file, counted, damage):
    remembered_sha256(file)
    (note,) = notes()
    note.write_bytes(damage)
    assert remembered_sha256(file, counted) == file_sha256(file)
    assert note.read_text() == file_sha256(file)


def test_a_cache_directory_that_cannot_be_made_is_no_error(file, cache_home, counted):
    cache_home.rmdir()
    cache_home.write_bytes(b"a file where the directory should be")
    assert remembered_sha256(file, counted) == remembered_sha256(file, counted) == file_sha256(file)
    assert len(counted.calls) == 2


def test_a_read_only_file_system_is_no_error(file, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    for operation in ("mkdir", "write_text", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{operation}", refuse)
    assert remembered_sha256(file) == file_sha256(file)


def test_a_full_disk_leaves_no_half_written_note(file, monkeypatch):
    def stop(path, text, **kwargs):
        path.write_bytes(text[:10].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", stop)
    assert remembered_sha256(file) == file_sha256(file)
    assert notes() == []
