"""What a checkpoint may contain; anything else is refused before PyTorch reads it, in steps that are counted."""

import contextlib
import os
import pickle
import pickletools
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import gpt_state, model_config

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.checkpoint import read_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def pack(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED, **others: bytes) -> None:
    """Write an archive as ``torch.save`` does, with this pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in {"data.pkl": content, "version": b"3\n", **others}.items():
            archive.writestr(f"model/{name}", data)


def steps(monkeypatch, path: Path) -> int:
    """How many instructions are read before the file at ``path`` is refused."""
    count = 0
    original = pickletools.genops

    def genops(stream):
        nonlocal count
        for found in original(stream):
            count += 1
            yield found

    monkeypatch.setattr(pickletools, "genops", genops)
    with pytest.raises(ExportError):
        load_source(path)
    return count


VALUES = {
    "plain values": {"a": [1, 2.5, None, True], "b": ("x", -3, 2**40), "c": {"d": {}}},
    "an ordered dict": OrderedDict(a=1),
    "types and devices": {"dtype": torch.float32, "device": torch.device("cpu"), "size": torch.Size([2])},
    "tensors of every ordinary type": {
        str(dtype): torch.ones(2, dtype=dtype)
        for dtype in (torch.float64, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)
    },
    "parameters": {"p": torch.nn.Parameter(torch.ones(2))},
    "a parameter with an attribute": {"p": torch.nn.Parameter(torch.ones(2))},
    "the state of an optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict(),
    "a long history": {"history": [{"step": i, "loss": i / 7, "rate": 1e-4} for i in range(5000)]},
}
VALUES["a parameter with an attribute"]["p"].note = "x"


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("what", VALUES)
def test_what_training_saves_is_read(path, what, packed):
    torch.save(VALUES[what], path, _use_new_zipfile_serialization=packed)
    assert list(read_checkpoint(path)) == list(VALUES[what])


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (torch.ones(2, dtype=torch.complex64), "complex numbers"),
        (1 + 2j, r"\(__builtin__\.complex\)"),
        (torch.ones(2).to(torch.float8_e4m3fn), "quantized|unusual"),
        (torch.ones(2, 2).to_sparse(), "sparse tensors"),
        (torch.ones(2, device="meta"), "tensors without values"),
        (np.float64(1), r"numpy.*scalar"),
        (bytearray(3), "bytearray"),
        (b"bytes", r"_codecs\.encode"),
        ({1, 2}, "set"),
        (Counter(a=1), r"collections\.Counter"),
        (defaultdict(list), r"collections\.defaultdict"),
        (Path("x"), "pathlib"),
    ],
)
def test_anything_else_is_refused_by_name(path, value, told, packed):
    torch.save({"model_state_dict": gpt_state(), "extra": value}, path, _use_new_zipfile_serialization=packed)
    with pytest.raises(ExportError, match=told):
        load_source(path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torch._utils _rebuild_qtensor", "quantized tensors"),
        ("torch QInt8Storage", "quantized tensors"),
        ("torch QUInt4x2Storage", "quantized tensors"),
        ("torch ComplexDoubleStorage", "complex numbers"),
        ("torch._utils _rebuild_nested_tensor", "nested tensors"),
        (
            "torch.nn.modules.linear Linear",
            r"\(torch\.nn\.modules\.linear\.Linear\): loading it could run code",
        ),
        ("os system", r"\(os\.system\): loading it could run code"),
        ("x\x1b[2J y", r"\(x\?\[2J\.y\)"),
    ],
)
def test_tensors_and_classes_that_no_model_needs_are_refused_by_name(path, name, told):
    pack(path, b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n.")
    with pytest.raises(ExportError, match=told):
        load_source(path)


MARKS = b"\x80\x02" + b"(" * 10_000_000 + b"."
EMPTY_LISTS = b"\x80\x02" + b"]" * 10_000_000 + b"."


@pytest.mark.parametrize("content", [MARKS, EMPTY_LISTS])
def test_a_long_pickle_is_read_as_far_as_its_file_deserves(path, monkeypatch, content):
    pack(path, content)
    assert steps(monkeypatch, path) < 500_000


def test_a_long_pickle_of_the_old_format_is_read_no_farther(path, monkeypatch):
    path.write_bytes(MARKS)
    assert steps(monkeypatch, path) < 500_000


def test_a_string_longer_than_the_file_is_not_made_room_for(path):
    path.write_bytes(b"\x80\x02X\xff\xff\xff\xff" + b"x" * 2_000_000)
    with pytest.raises(ExportError, match="in more bytes"):
        load_source(path)


@pytest.mark.parametrize("made", [b"\x86", b"\x87"])
def test_a_key_that_takes_for_ever_to_hash_is_refused(path, monkeypatch, made):
    """Tuples of the same tuple: sixty instructions, and more values than any machine can visit."""
    put, get = b"q\x00", b"h\x00"
    nested = b")" + put + (get * (made[0] - 0x85) + made + put) * 60
    pack(path, b"\x80\x02}" + nested + b"K\x01s.")
    assert steps(monkeypatch, path) < 1000


def test_a_compressed_archive_is_refused_unread(path, monkeypatch):
    pack(path, bytes(30_000_000), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert steps(monkeypatch, path) == 0


def test_an_archive_larger_inside_than_outside_is_refused(path):
    pack(path, pickle.dumps({}, protocol=2), **{"data/0": bytes(50)})
    content = path.read_bytes()
    entry = (50).to_bytes(4, "little") * 2
    assert content.count(entry) == 2  # before the entry, and in the directory at the end
    path.write_bytes(content.replace(entry, (10**9).to_bytes(4, "little") * 2))
    with pytest.raises(ExportError, match="holds more bytes than it has"):
        load_source(path)


@pytest.mark.parametrize(
    "names", [["model/x.pkl"], ["a/data.pkl", "b/data.pkl"], ["a/data.pkl", "a/Data.PKL"], []]
)
def test_an_archive_without_one_pickle_is_no_checkpoint(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, pickle.dumps({}, protocol=2))
    with pytest.raises(ExportError, match="not a PyTorch checkpoint"):
        load_source(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02.",
        b"\x80\x02h\x05.",
        b"\x80\x02\x86.",
        b"\x80\x02s.",
        b"\x80\x02t.",
        b"\x80\x02}q",
        b"\x80\x02NR.",
        b"\x80",
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused(path, content):
    pack(path, content)
    with pytest.raises(ExportError, match="damaged"):
        load_source(path)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_pipes_and_devices_are_refused_unopened(tmp_path, name):
    path = tmp_path / name
    if not path.exists():
        os.mkfifo(path)
    with pytest.raises(ExportError, match="is not a plain file"):
        load_source(path)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_checkpoint_is_an_export_error_wherever_it_is_damaged(path, seed):
    torch.save({"model_state_dict": gpt_state(width=8), "model_config": model_config(embedding_dim=8)}, path)
    original = path.read_bytes()
    begin = original.index(b"\x80\x02")
    random = np.random.default_rng(seed)
    for _ in range(100):
        content = bytearray(original)
        for place in random.integers(begin, begin + 6000, 3):
            content[place] = random.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(ExportError):
            load_source(path)
