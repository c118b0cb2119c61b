import dataclasses
import os
import shutil
import time
from pathlib import Path

import pytest

from llmbuilder.bundle.manifest import GRAPH_NAME, MANIFEST_NAME, WEIGHTS_NAME, FileEntry
from llmbuilder.bundle.opening import Bundle, is_bundle, open_bundle
from llmbuilder.bundle.reading import read_manifest
from llmbuilder.errors import BundleError, LLMBuilderError, ModelNotFoundError
from llmbuilder.userdata import file_sha256


def list_file(directory, name, *, optional=False):
    """Make a file of the directory part of its manifest."""
    manifest = read_manifest(directory / MANIFEST_NAME)
    entry = FileEntry(
        size=(directory / name).stat().st_size, sha256=file_sha256(directory / name), optional=optional
    )
    changed = dataclasses.replace(manifest, files={**manifest.files, name: entry})
    (directory / MANIFEST_NAME).write_text(changed.to_json(), encoding="utf-8")


def overwrite_with_its_time(path, content):
    """Change a file's bytes but neither its size, its inode nor the time of its last writing."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_intact_bundle_opens(make_bundle):
    directory = make_bundle()
    bundle = open_bundle(directory)
    assert isinstance(bundle, Bundle)
    assert bundle.graph == directory / GRAPH_NAME
    assert bundle.tokenizer == directory / "tokenizer.model"
    assert bundle.size == 2 + 100 + 6
    assert bundle.chat_template is None


def test_a_bundle_may_have_a_chat_template(make_bundle):
    directory = make_bundle()
    (directory / "chat_template.jinja").write_text("{{ messages }} 🦊", encoding="utf-8")
    list_file(directory, "chat_template.jinja")
    assert open_bundle(directory).chat_template == "{{ messages }} 🦊"


def test_a_missing_directory_is_a_missing_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no bundle at .*nowhere.*llmb export"):
        open_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["empty directory", "file"])
def test_what_has_no_manifest_is_no_bundle(tmp_path, kind):
    path = tmp_path / "thing"
    path.mkdir() if kind == "empty directory" else path.write_bytes(b"")
    assert not is_bundle(path)
    with pytest.raises(BundleError, match=r"not a bundle.*llmb export"):
        open_bundle(path)


def remove(directory):
    (directory / WEIGHTS_NAME).unlink()


def truncate(directory):
    (directory / WEIGHTS_NAME).write_bytes(bytes(99))


def lengthen(directory):
    (directory / WEIGHTS_NAME).write_bytes(bytes(101))


def change_a_byte(directory):
    (directory / WEIGHTS_NAME).write_bytes(bytes(99) + b"\1")


def change_tokenizer(directory):
    (directory / "tokenizer.model").write_bytes(b"PIECES")


def link_to_nothing(directory):
    (directory / WEIGHTS_NAME).unlink()
    (directory / WEIGHTS_NAME).symlink_to("nowhere")


def link_to_itself(directory):
    (directory / WEIGHTS_NAME).unlink()
    (directory / WEIGHTS_NAME).symlink_to(WEIGHTS_NAME)


def link_to_a_pipe(directory):
    os.mkfifo(directory.parent / "pipe")
    (directory / "tokenizer.model").unlink()
    (directory / "tokenizer.model").symlink_to(directory.parent / "pipe")


def link_weights_elsewhere(directory):
    (directory / WEIGHTS_NAME).rename(directory.parent / "elsewhere")
    (directory / WEIGHTS_NAME).symlink_to(directory.parent / "elsewhere")


def put_a_directory(directory):
    (directory / WEIGHTS_NAME).unlink()
    (directory / WEIGHTS_NAME).mkdir()


def put_a_pipe(directory):
    (directory / WEIGHTS_NAME).unlink()
    os.mkfifo(directory / WEIGHTS_NAME)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, f"lacks {WEIGHTS_NAME}"),
        (truncate, "has 99 bytes, its manifest says 100"),
        (lengthen, "has 101 bytes, its manifest says 100"),
        (change_a_byte, f"{WEIGHTS_NAME} was changed"),
        (change_tokenizer, "tokenizer.model was changed"),
        (link_to_nothing, f"{WEIGHTS_NAME} cannot be followed.*Copy"),
        (link_to_itself, f"{WEIGHTS_NAME} cannot be followed.*Copy"),
        (link_to_a_pipe, "tokenizer.model is neither a plain file nor a link to one"),
        (link_weights_elsewhere, "only from the graph's own directory.*Copy the file itself"),
        (put_a_directory, f"{WEIGHTS_NAME} is neither a plain file nor a link to one"),
        (put_a_pipe, f"{WEIGHTS_NAME} is neither a plain file nor a link to one"),
    ],
)
def test_a_damaged_bundle_is_refused_by_file(make_bundle, damage, message):
    directory = make_bundle()
    open_bundle(directory)
    damage(directory)
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(directory)
    assert str(directory) in str(caught.value)


def test_a_bundle_may_be_reached_through_a_link_to_its_directory(make_bundle, tmp_path):
    (tmp_path / "alias").symlink_to(make_bundle())
    assert open_bundle(tmp_path / "alias").size == 108


def test_a_bundle_is_where_it_was_wherever_the_program_goes(make_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = open_bundle(make_bundle().relative_to(tmp_path))
    monkeypatch.chdir("/")
    assert bundle.manifest_file.read_bytes()
    assert bundle.unlisted == []


def test_hashes_are_computed_once_and_then_remembered(make_bundle, monkeypatch):
    directory = make_bundle()
    open_bundle(directory)
    monkeypatch.setattr("llmbuilder.userdata._read_note", lambda note: "remembered")
    with pytest.raises(BundleError, match="was changed: its SHA-256"):
        open_bundle(directory)


@pytest.mark.parametrize("rehash", [False, True])
def test_a_change_of_equal_size_is_found_though_its_time_was_set_back(make_bundle, rehash):
    directory = make_bundle()
    open_bundle(directory)
    overwrite_with_its_time(directory / WEIGHTS_NAME, bytes(99) + b"\1")
    with pytest.raises(BundleError, match="was changed: its SHA-256"):
        open_bundle(directory, rehash=rehash)


def test_files_that_are_not_listed_are_ignored(make_bundle):
    directory = make_bundle()
    (directory / "README.md").write_text("A model.")
    (directory / ".gitattributes").touch()
    (directory / "onnx").mkdir()
    bundle = open_bundle(directory, rehash=True)
    assert bundle.unlisted == [".gitattributes", "README.md", "onnx"]
    assert bundle.size == 108


def test_an_optional_file_may_be_missing_and_is_looked_at_on_demand(make_bundle):
    directory = make_bundle()
    (directory / "LICENSE").write_text("Do what you like.")
    list_file(directory, "LICENSE", optional=True)
    open_bundle(directory, rehash=True)
    (directory / "LICENSE").write_text("Do what I like...")
    open_bundle(directory)
    with pytest.raises(BundleError, match="LICENSE was changed"):
        open_bundle(directory, rehash=True)
    (directory / "LICENSE").unlink()
    open_bundle(directory, rehash=True)


class TestLinks:
    """What counts is the content, not where it lies."""

    @pytest.fixture
    def hub(self, make_bundle, tmp_path):
        """A bundle as the Hugging Face Hub's cache stores it."""
        plain = make_bundle()
        blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "main"
        blobs.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        for path in plain.iterdir():
            name = file_sha256(path)
            path.rename(blobs / name)
            (snapshot / path.name).symlink_to(Path("../../blobs") / name)
        return snapshot

    def test_of_the_hub_are_followed_and_onnx_runtime_opens_the_graph(self, hub):
        assert open_bundle(hub).graph_content is None

    def test_do_not_hide_a_change_of_what_they_lead_to(self, hub):
        open_bundle(hub)
        (hub / WEIGHTS_NAME).write_bytes(bytes(99) + b"\1")
        with pytest.raises(BundleError, match=f"{WEIGHTS_NAME} was changed"):
            open_bundle(hub)

    def test_inside_the_bundle_are_followed(self, make_bundle):
        directory = make_bundle()
        (directory / WEIGHTS_NAME).rename(directory / "weights")
        (directory / WEIGHTS_NAME).symlink_to("weights")
        assert open_bundle(directory).graph_content is not None

    def test_of_small_files_may_lead_anywhere(self, make_bundle, tmp_path):
        directory = make_bundle()
        for name in (MANIFEST_NAME, GRAPH_NAME, "tokenizer.model"):
            (directory / name).rename(tmp_path / name)
            (directory / name).symlink_to(tmp_path / name)
        assert open_bundle(directory).graph_content is not None

    def test_that_are_hard_leave_both_bundles_usable(self, make_bundle, tmp_path):
        """``cp -al bundle backup``."""
        directory, backup = make_bundle(), tmp_path / "backup"
        open_bundle(directory)
        backup.mkdir()
        for path in directory.iterdir():
            (backup / path.name).hardlink_to(path)
        assert open_bundle(directory).manifest == open_bundle(backup).manifest


class TestUnchanged:
    """What was checked is what is loaded."""

    def exchange(self, directory):
        """Put another file there, of the same content, time and size."""
        path = directory / WEIGHTS_NAME
        copy = shutil.copy2(path, directory / "copy")
        Path(copy).replace(path)

    def exchange_and_put_back(self, directory):
        path, kept = directory / WEIGHTS_NAME, directory / "kept"
        path.rename(kept)
        path.write_bytes(bytes(100))
        path.unlink()
        kept.rename(path)

    def write_in_place(self, directory):
        overwrite_with_its_time(directory / WEIGHTS_NAME, bytes(99) + b"\1")

    def write_the_tokenizer(self, directory):
        overwrite_with_its_time(directory / "tokenizer.model", b"PIECES")

    def replace_by_a_link(self, directory):
        (directory / WEIGHTS_NAME).rename(directory / "real")
        (directory / WEIGHTS_NAME).symlink_to("real")

    def replace_the_manifest(self, directory):
        path = directory / MANIFEST_NAME
        path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")

    @pytest.mark.parametrize(
        "change",
        [
            exchange,
            exchange_and_put_back,
            write_in_place,
            write_the_tokenizer,
            replace_by_a_link,
            replace_the_manifest,
        ],
    )
    def test_files_that_change_after_the_check_are_found(self, make_bundle, change):
        bundle = open_bundle(make_bundle())
        bundle.check_unchanged()
        time.sleep(0.02)  # the system's clock for files ticks every few milliseconds
        change(self, bundle.directory)
        with pytest.raises(BundleError, match="was changed while it was being loaded"):
            bundle.check_unchanged()

    def test_reading_changes_nothing(self, make_bundle):
        bundle = open_bundle(make_bundle())
        (bundle.directory / WEIGHTS_NAME).read_bytes()
        (bundle.directory / "README.md").touch()
        bundle.check_unchanged()

    def test_the_graph_is_loaded_as_it_was_checked(self, make_bundle):
        bundle = open_bundle(make_bundle())
        checked = bundle.graph.read_bytes()
        bundle.graph.write_bytes(b"another")
        assert bundle.graph_content == checked


def test_a_changed_file_is_not_remembered_as_good(make_bundle):
    directory = make_bundle()
    change_a_byte(directory)
    for _ in range(2):
        with pytest.raises(BundleError, match="was changed"):
            open_bundle(directory)


def test_a_manifest_of_absurd_size_is_not_read(make_bundle):
    directory = make_bundle()
    with (directory / MANIFEST_NAME).open("r+b") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(BundleError, match="too many for a manifest"):
        open_bundle(directory)


def test_the_graph_is_checked_even_if_its_hash_is_right(make_bundle):
    directory = make_bundle()
    (directory / GRAPH_NAME).write_bytes(b"\xca\x01\x00")  # ModelProto.functions, one empty message
    list_file(directory, GRAPH_NAME)
    with pytest.raises(BundleError, match="an unknown field 25"):
        open_bundle(directory)


def test_a_file_that_may_not_be_read_is_an_error_of_this_package(make_bundle, monkeypatch):
    directory = make_bundle()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("llmbuilder.bundle.opening.file_sha256", refuse)
    with pytest.raises(LLMBuilderError, match="Permission denied"):
        open_bundle(directory, rehash=True)
