"""Mapped pages are given back where the file still has them, and nothing that was written is lost."""

import ctypes
import mmap
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.engine import mapped
from llmbuilder.engine.addresses import entries, mappings
from llmbuilder.engine.loading import load_engine
from llmbuilder.engine.mapped import give_back_freed, give_back_mapped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of their pages")
PAGES = 64
DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"


def resident(path):
    """Bytes of a file's mappings that are in memory."""
    pages = [entries(start, end) for start, end, name in mappings() if name == str(path)]
    return sum(mmap.PAGESIZE * int(np.count_nonzero(each >> np.uint64(63))) for each in pages)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights with a name"
    path.write_bytes(bytes(range(256)) * (PAGES * mmap.PAGESIZE // 256))
    return path


@pytest.fixture
def pages(path):
    """The file, mapped as ONNX Runtime maps weights, and read."""
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    assert pages[:] == path.read_bytes()
    return pages


def test_what_was_only_read_is_given_back_and_is_there_all_the_same(path, pages):
    assert resident(path) == len(pages)
    give_back_mapped(path)
    assert resident(path) == 0
    assert pages[:] == path.read_bytes()
    assert resident(path) == len(pages)


def test_a_link_stands_for_its_file(path, pages, tmp_path):
    (tmp_path / "link").symlink_to(path)
    give_back_mapped(tmp_path / "link")
    assert resident(path) == 0


def test_what_was_written_to_stays(path, pages):
    pages[5000] = 7
    give_back_mapped(path)
    assert pages[5000] == 7
    assert resident(path) == len(pages)


def test_other_files_stay(path, pages, tmp_path):
    (tmp_path / "other").write_bytes(path.read_bytes())
    give_back_mapped(tmp_path / "other")
    assert resident(path) == len(pages)


@pytest.mark.parametrize("kept", ["mappings", "entries"])
def test_where_the_system_tells_nothing_everything_stays(path, pages, monkeypatch, kept):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(mapped, kept, refuse)
    give_back_mapped(path)
    monkeypatch.undo()
    assert resident(path) == len(pages)


def anonymous():
    """Bytes of this process's memory that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_what_was_freed_is_given_back_in_every_threads_part_of_memory():
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("no glibc")
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    kept = []

    def allocate_and_free():
        blocks = [libc.malloc(ctypes.c_size_t(10_000)) for _ in range(4000)]
        for block in blocks:
            ctypes.memset(block, 1, 10_000)
        kept.append(blocks.pop())  # what lies on top keeps the rest below it
        for block in blocks:
            libc.free(block)

    thread = threading.Thread(target=allocate_and_free)
    thread.start()
    thread.join()
    before = anonymous()
    give_back_freed()
    after = anonymous()
    libc.free(kept[0])
    assert after < before - 30_000_000


def test_a_loaded_model_has_given_its_weights_back_and_computes_with_them():
    engine = load_engine(DEMO)
    weights = DEMO / WEIGHTS_NAME
    size = weights.stat().st_size
    assert resident(weights) < size // 10
    first = np.array(engine.model.decoder().prefill(0, [1, 2, 3]))
    give_back_mapped(weights)
    assert np.array_equal(engine.model.decoder().prefill(0, [1, 2, 3]), first)
