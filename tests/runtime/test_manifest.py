import dataclasses
import json

import pytest

from llmbuilder.bundle.manifest import MANIFEST_NAME, VERSION, read_manifest
from llmbuilder.errors import BundleError


def removed(*keys):
    """An edit that takes a field out."""

    def edit(raw):
        inner = raw
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return edit


def changed(*keys_and_value):
    """An edit that gives a field another value."""
    *keys, last, value = keys_and_value

    def edit(raw):
        inner = raw
        for key in keys:
            inner = inner[key]
        inner[last] = value

    return edit


def renamed_file(name):
    def edit(raw):
        raw["files"][name] = raw["files"]["model.onnx.data"]

    return edit


@pytest.fixture
def write(tmp_path, manifest):
    """Write a good manifest after an edit; returns its path."""

    def write(edit=lambda raw: None):
        raw = json.loads(manifest.to_json())
        edit(raw)
        path = tmp_path / MANIFEST_NAME
        path.write_text(json.dumps(raw), encoding="utf-8")
        return path

    return write


def test_what_is_written_is_what_is_read(tmp_path, manifest):
    path = tmp_path / MANIFEST_NAME
    path.write_text(manifest.to_json(), encoding="utf-8")
    assert read_manifest(path) == manifest


def test_writing_is_stable(write, manifest):
    assert read_manifest(write()).to_json() == manifest.to_json()


def test_text_stays_readable_in_the_file(manifest):
    facts = dataclasses.replace(manifest.tokenizer, golden=(("Łódź 🦊", (1, 2)),))
    assert "Łódź 🦊" in dataclasses.replace(manifest, tokenizer=facts).to_json()


def test_a_newer_version_asks_for_an_upgrade(write):
    with pytest.raises(BundleError, match=f"version {VERSION + 1}.*Upgrade llmbuilder-runtime"):
        read_manifest(write(changed("version", VERSION + 1)))


@pytest.mark.parametrize("version", [None, "1", 1.0, True, 0, -1, [1]])
def test_a_version_that_is_none_is_refused(write, version):
    with pytest.raises(BundleError, match="version"):
        read_manifest(write(changed("version", version)))


def test_a_newer_version_is_recognized_before_its_new_fields(write):
    def edit(raw):
        raw |= {"version": VERSION + 1, "new": 1}

    with pytest.raises(BundleError, match="Upgrade"):
        read_manifest(write(edit))


MALFORMED = {
    "no model": removed("model"),
    "no tokenizer": removed("tokenizer"),
    "no source": removed("source"),
    "no files": removed("files"),
    "no vocabulary size": removed("model", "vocab_size"),
    "no file size": removed("files", "model.onnx", "size"),
    "graph not listed": removed("files", "model.onnx"),
    "tokenizer not listed": removed("files", "tokenizer.model"),
    "an unknown field": changed("surprise", 1),
    "an unknown field inside": changed("model", "surprise", 1),
    "model is a list": changed("model", [1]),
    "model is null": changed("model", None),
    "files is a list": changed("files", ["model.onnx"]),
    "file entry is a number": changed("files", "model.onnx", 5),
    "vocabulary of zero": changed("model", "vocab_size", 0),
    "window below zero": changed("model", "context_length", -1),
    "window is true": changed("model", "context_length", True),
    "layers is text": changed("model", "num_layers", "2"),
    "heads is a fraction": changed("model", "num_attention_heads", 2.5),
    "size below zero": changed("files", "model.onnx", "size", -1),
    "size is text": changed("files", "model.onnx", "size", "9"),
    "size is true": changed("files", "model.onnx", "size", True),
    "tokenizer of unknown kind": changed("tokenizer", "kind", "magic"),
    "tokenizer's file is a list": changed("tokenizer", "file", ["tokenizer.model"]),
    "EOS outside the vocabulary": changed("tokenizer", "eos_token_ids", [10**6]),
    "EOS below zero": changed("tokenizer", "eos_token_ids", [-1]),
    "EOS ids are text": changed("tokenizer", "eos_token_ids", "12"),
    "EOS ids are fractions": changed("tokenizer", "eos_token_ids", [1.5]),
    "EOS is null": changed("tokenizer", "eos_token_ids", [None]),
    "EOS is true": changed("tokenizer", "eos_token_ids", [True]),
    "EOS ids are null": changed("tokenizer", "eos_token_ids", None),
    "BOS outside the vocabulary": changed("tokenizer", "bos_token_id", 10**6),
    "BOS is text": changed("tokenizer", "bos_token_id", "1"),
    "PAD outside the vocabulary": changed("tokenizer", "pad_token_id", 10**6),
    "golden ids are no pairs": changed("tokenizer", "golden", [1]),
    "golden is null": changed("tokenizer", "golden", None),
    "generation is a list": changed("generation", [1]),
    "generation is null": changed("generation", None),
    "verification is text": changed("verification", "fine"),
    "an unknown device": changed("device", "tpu"),
    "an unknown quantization": changed("quantization", "int3"),
    "an unknown cache type": changed("kv_cache", "float8"),
}


@pytest.mark.parametrize("edit", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_manifest_is_refused(write, edit):
    path = write(edit)
    with pytest.raises(BundleError, match=r"is malformed: .*Export the model again") as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../model.onnx.data", "/etc/passwd", "a/b", "a\\b", "a\0b", MANIFEST_NAME]
)
def test_file_names_that_are_paths_are_refused(write, name):
    with pytest.raises(BundleError, match="not a plain name"):
        read_manifest(write(renamed_file(name)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"llmbuilder-bundle"',
        b"{}",
        b'{"format": "other", "version": 1}',
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"format": "llmbuilder-bundle", "version": ' + b"9" * 5000 + b"}",
    ],
    ids=[
        "empty",
        "cut short",
        "null",
        "list",
        "text",
        "no format",
        "other format",
        "binary",
        "deep",
        "huge number",
    ],
)
def test_files_that_are_no_manifest_are_refused_by_path(tmp_path, content):
    path = tmp_path / MANIFEST_NAME
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_a_manifest_that_cannot_be_opened_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        read_manifest(tmp_path / MANIFEST_NAME)
