import dataclasses
import json

import pytest

from llmbuilder.bundle.manifest import MANIFEST_NAME, VERSION, ChatFacts, LayerCache, digest
from llmbuilder.bundle.reading import read_manifest
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
    """Write a good manifest, with the right digest, after an edit; returns its path."""

    def write(edit=lambda raw: None):
        raw = json.loads(manifest.to_json())
        edit(raw)
        raw["digest"] = digest(raw)
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


LAYER = {"heads": 2, "key_size": 8, "value_size": 8}
CHAT = {"system_role": True, "end_token_ids": [2], "tool_calls": None}

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
    "layers is a number": changed("model", "layers", 2),
    "no layers": changed("model", "layers", []),
    "more layers than any model has": changed("model", "layers", [LAYER] * 10_001),
    "a layer without heads": changed("model", "layers", [{"key_size": 8, "value_size": 8}]),
    "a layer with no heads": changed("model", "layers", [{**LAYER, "heads": 0}]),
    "a layer with an unknown field": changed("model", "layers", [{**LAYER, "state": 1}]),
    "a layer's window is zero": changed("model", "layers", [{**LAYER, "window": 0}]),
    "a layer is null": changed("model", "layers", [None]),
    "a hash that is short": changed("files", "model.onnx", "sha256", "0" * 63),
    "a hash in capitals": changed("files", "model.onnx", "sha256", "A" * 64),
    "a hash that is null": changed("files", "model.onnx", "sha256", None),
    "the source's hash is a number": changed("source", "sha256", 1),
    "the source's name is a number": changed("source", "name", 1),
    "architecture is half a character": changed("model", "architecture", "\ud800"),
    "the graph is optional": changed("files", "model.onnx", "optional", True),
    "the tokenizer is optional": changed("files", "tokenizer.model", "optional", True),
    "optional is a number": changed("files", "model.onnx", "optional", 0),
    "a chat ends with a token that is not there": changed("chat", {**CHAT, "end_token_ids": [10**6]}),
    "a chat takes system messages perhaps": changed("chat", {**CHAT, "system_role": None}),
    "prefix ids are text": changed("tokenizer", "prefix_ids", "1"),
    "a size too large for any file": changed("files", "model.onnx", "size", 2**63),
    "generation is nested without end": changed("generation", {"a": [[[[[1]]]]]}),
    "generation has half a character": changed("generation", "stop_strings", ["\ud800"]),
    "a float32 cache for cuda": changed("device", "cuda"),
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
    with pytest.raises(BundleError, match=r"is malformed: .*export the model again") as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_a_message_says_where_and_stays_short(write):
    with pytest.raises(BundleError, match=r"model\.layers\[1\]\.heads must be .*, not 'aaa") as caught:
        read_manifest(write(changed("model", "layers", 1, "heads", "a" * 10_000 + "\x1b[31m")))
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


def test_layers_may_differ(write):
    layers = [LAYER, {"heads": 1, "key_size": 16, "value_size": 8, "window": 32}]
    model = read_manifest(write(changed("model", "layers", layers))).model
    assert model.layers[1] == LayerCache(heads=1, key_size=16, value_size=8, window=32)
    assert model.num_layers == 2


def test_what_is_known_of_a_chat_template_is_kept(write):
    read = read_manifest(write(changed("chat", CHAT)))
    assert read.chat == ChatFacts(system_role=True, end_token_ids=(2,))


class TestDigest:
    def test_stands_in_the_file_and_covers_all_of_it(self, write, manifest):
        raw = json.loads(write().read_text(encoding="utf-8"))
        assert raw["digest"] == manifest.digest == digest(raw)
        assert digest({**raw, "created_by": "somebody"}) != raw["digest"]

    def test_does_not_depend_on_layout(self, write):
        path = write()
        raw = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(dict(reversed(raw.items())), indent=7), encoding="utf-8")
        read_manifest(path)

    @pytest.mark.parametrize("wrong", [None, "", "0" * 63, "G" * 64, 1])
    def test_that_is_none_is_refused(self, write, wrong):
        path = write()
        raw = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**raw, "digest": wrong}), encoding="utf-8")
        with pytest.raises(BundleError, match="digest must be a SHA-256"):
            read_manifest(path)

    def test_notices_whatever_was_changed(self, write):
        path = write()
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["generation"]["temperature"] = 0.71
        path.write_text(json.dumps(raw), encoding="utf-8")
        with pytest.raises(BundleError, match=r"was changed.*Copy the bundle again"):
            read_manifest(path)


class TestVersion1:
    """What the first release wrote."""

    @pytest.fixture
    def raw(self, manifest):
        raw = json.loads(manifest.to_json())
        del raw["digest"], raw["chat"], raw["source"]["adapter"], raw["model"]["layers"]
        for name in ("prefix_ids", "suffix_ids"):
            del raw["tokenizer"][name]
        for entry in raw["files"].values():
            del entry["optional"]
        raw["model"] |= {"num_layers": 3, "num_key_value_heads": 2, "head_dim": 8}
        return raw | {"version": 1}

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / MANIFEST_NAME

    def test_is_read_with_the_same_cache_in_all_layers(self, raw, path):
        path.write_text(json.dumps(raw), encoding="utf-8")
        read = read_manifest(path)
        assert read.version == 1
        assert read.model.layers == (LayerCache(heads=2, key_size=8, value_size=8),) * 3
        assert (read.chat, read.tokenizer.prefix_ids) == (None, None)

    def test_is_written_as_the_newest(self, raw, path):
        path.write_text(json.dumps(raw), encoding="utf-8")
        read = read_manifest(path)
        path.write_text(read.to_json(), encoding="utf-8")
        assert read_manifest(path) == dataclasses.replace(read, version=VERSION)

    @pytest.mark.parametrize(
        ("name", "value"), [("num_layers", "2"), ("num_layers", 10**12), ("head_dim", None), ("layers", [])]
    )
    def test_that_is_malformed_is_refused(self, raw, path, name, value):
        path.write_text(json.dumps({**raw, "model": {**raw["model"], name: value}}), encoding="utf-8")
        with pytest.raises(BundleError, match=r"is malformed: .*export the model again"):
            read_manifest(path)


@pytest.mark.parametrize("key", ["version", "sha256", "vocab_size", "digest"])
def test_a_key_that_stands_there_twice_is_refused(write, key):
    path = write()
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace(f'"{key}":', f'"{key}": 1, "{key}":', 1), encoding="utf-8")
    with pytest.raises(BundleError, match=f"'{key}' stands there twice"):
        read_manifest(path)


@pytest.mark.parametrize(
    "name",
    [
        "a:b",
        "a\x1b[31mb",
        "",
        ".",
        "..",
        "../model.onnx.data",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        MANIFEST_NAME,
    ],
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
        b'{"format": "llmbuilder-bundle", "version": 2, "a": NaN}',
        b'{"format": "llmbuilder-bundle", "version": 1, "a": 1e999}',
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
        "no number",
        "too large a number",
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
