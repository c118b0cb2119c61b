"""Exports to a full disk, at each file that they write: the old bundle stays, or nothing, and the error says where."""

import os
import re
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
from full_disks import FillsUp, small_disk

from llmbuilder.bundle.manifest import GRAPH_NAME, MANIFEST_NAME, WEIGHTS_NAME
from llmbuilder.errors import ExportError
from llmbuilder_export.__main__ import main
from llmbuilder_export.sources.tokenizer import TokenizerSource
from llmbuilder_export.staging import staged
from llmbuilder_export.write import write_files, write_manifest

TEMPLATE = "{{ messages }}"
WRITTEN = {WEIGHTS_NAME, GRAPH_NAME, "tokenizer.model", "chat_template.jinja", "LICENSE", MANIFEST_NAME}


@pytest.fixture
def write(report, tmp_path):
    """The writing part of an export to ``tmp_path / "disk"``, with every kind of file that there may be."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "LICENSE").write_text("Do what you like.\n")
    (tmp_path / "disk").mkdir()
    path = report.path / "tokenizer.model"
    tokenizer = TokenizerSource(path, report.manifest.tokenizer, path.read_bytes())
    model = ir.load(report.path / GRAPH_NAME)

    def write():
        with staged(tmp_path / "disk" / "bundle", overwrite=True) as folder:
            files = write_files(folder, model, tokenizer, TEMPLATE, tmp_path / "source")
            write_manifest(folder, replace(report.manifest, files=files))

    return write


@pytest.mark.parametrize("old", [False, True], ids=["nothing there", "an old bundle"])
def test_at_every_file_an_export_fails_clearly_and_leaves_what_was_there(write, tmp_path, old):
    disk = tmp_path / "disk"
    if old:
        write()
    before = contents(disk)
    reached = set()
    for spared in range(100):
        full = FillsUp(disk, spared)
        try:
            with full.watching():
                write()
        except ExportError as error:
            told = rf"(The disk of {disk} is full|{disk}/bundle cannot be written) \(.*ass another output with -o"
            assert re.match(told, str(error))  # noqa: PT017 (it need not fail)
            reached.add(full.opened[-1])
            assert full.opened[-1] in str(error) or "cannot be written" in str(error)  # noqa: PT017
            assert contents(disk) == before
        else:
            break
    assert reached == WRITTEN
    assert (disk / "bundle" / MANIFEST_NAME).exists()


def test_a_disk_of_any_size_holds_a_whole_bundle_or_none(write, report, tmp_path):
    disk = tmp_path / "disk"
    needed = sum(path.stat().st_size for path in report.path.iterdir()) // 1024
    whole = 0
    for size in range(4, needed + 80, max(4, needed // 12)):
        with small_disk(disk, size):
            try:
                write()
            except ExportError as error:
                assert "is full" in str(error)  # noqa: PT017
                assert contents(disk) == {}
            else:
                whole += 1
                assert {path.name for path in (disk / "bundle").iterdir()} == WRITTEN
    assert whole


def test_the_program_says_in_one_line_that_the_disk_is_full(checkpoint, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 40):
        assert main([str(checkpoint), "-o", str(disk / "bundle"), "--quantize", "none"]) == 1
        assert list(disk.iterdir()) == []
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(f"error: The disk of {disk} is full ({WEIGHTS_NAME}: No space left")
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        os.fspath(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
