import dataclasses
import os

import pytest

from llmbuilder.bundle.manifest import GRAPH_NAME, MANIFEST_NAME, WEIGHTS_NAME, FileEntry
from llmbuilder.bundle.opening import Bundle, is_bundle, open_bundle
from llmbuilder.bundle.reading import read_manifest
from llmbuilder.errors import BundleError, LLMBuilderError, ModelNotFoundError
from llmbuilder.userdata import file_sha256


def list_file(directory, name):
    """Make a file of the directory part of its manifest."""
    manifest = read_manifest(directory / MANIFEST_NAME)
    entry = FileEntry(size=(directory / name).stat().st_size, sha256=file_sha256(directory / name))
    changed = dataclasses.replace(manifest, files={**manifest.files, name: entry})
    (directory / MANIFEST_NAME).write_text(changed.to_json(), encoding="utf-8")


def overwrite_unnoticed(path, content):
    """Change a file's bytes but neither its size, its modification time nor its inode."""
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


def add(directory):
    (directory / "extra.so").write_bytes(b"")


def add_directory(directory):
    (directory / "extra").mkdir()


def truncate(directory):
    (directory / WEIGHTS_NAME).write_bytes(bytes(99))


def lengthen(directory):
    (directory / WEIGHTS_NAME).write_bytes(bytes(101))


def change_a_byte(directory):
    (directory / WEIGHTS_NAME).write_bytes(bytes(99) + b"\1")


def change_tokenizer(directory):
    (directory / "tokenizer.model").write_bytes(b"PIECES")


def link_symbolically(directory):
    target = directory.parent / "elsewhere"
    (directory / WEIGHTS_NAME).rename(target)
    (directory / WEIGHTS_NAME).symlink_to(target)


def link_symbolically_inside(directory):
    (directory / WEIGHTS_NAME).unlink()
    (directory / WEIGHTS_NAME).symlink_to(GRAPH_NAME)


def link_hard(directory):
    (directory.parent / "elsewhere").hardlink_to(directory / WEIGHTS_NAME)


def link_manifest(directory):
    target = directory.parent / "elsewhere"
    (directory / MANIFEST_NAME).rename(target)
    (directory / MANIFEST_NAME).symlink_to(target)


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
        (add, "does not list: extra.so"),
        (add_directory, "does not list: extra"),
        (truncate, "has 99 bytes, its manifest says 100"),
        (lengthen, "has 101 bytes, its manifest says 100"),
        (change_a_byte, f"{WEIGHTS_NAME} was changed"),
        (change_tokenizer, "tokenizer.model was changed"),
        (link_symbolically, f"{WEIGHTS_NAME} is not a plain file"),
        (link_symbolically_inside, f"{WEIGHTS_NAME} is not a plain file"),
        (link_hard, f"{WEIGHTS_NAME} has 2 hard links"),
        (link_manifest, f"{MANIFEST_NAME} is not a plain file"),
        (put_a_directory, f"{WEIGHTS_NAME} is not a plain file"),
        (put_a_pipe, f"{WEIGHTS_NAME} is not a plain file"),
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


def test_hashes_are_computed_once_and_then_remembered(make_bundle):
    directory = make_bundle()
    open_bundle(directory)
    overwrite_unnoticed(directory / WEIGHTS_NAME, bytes(99) + b"\1")
    open_bundle(directory)


def test_rehash_finds_a_change_of_equal_size_and_time(make_bundle):
    directory = make_bundle()
    open_bundle(directory)
    overwrite_unnoticed(directory / WEIGHTS_NAME, bytes(99) + b"\1")
    with pytest.raises(BundleError, match="was changed: its SHA-256"):
        open_bundle(directory, rehash=True)


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
