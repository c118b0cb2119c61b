"""What loading filled moves to huge pages between runs, within its share of the time, and holds what it held."""

import mmap
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from llmbuilder.engine import hugepages
from llmbuilder.engine.addresses import mappings
from llmbuilder.engine.hugepages import SHARE, HugePages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of their pages")
SIZE = 2 << 20


@pytest.fixture
def system(tmp_path, monkeypatch):
    """What the system says of its huge pages; returns where it says whether there are any."""
    (tmp_path / "hpage_pmd_size").write_text(f"{SIZE}\n")
    enabled = tmp_path / "enabled"
    enabled.write_text("always [madvise] never\n")
    monkeypatch.setattr(hugepages, "_SYSTEM", tmp_path)
    return enabled


@pytest.fixture
def advised(monkeypatch):
    """The blocks that were moved, each of which takes a second; and advice that the system does not know."""
    clock, calls, unknown = [0.0], [], set()

    def advise(start, length, advice):
        clock[0] += 1
        calls.append((start, length, advice))
        return advice not in unknown

    monkeypatch.setattr(hugepages, "advise", advise)
    monkeypatch.setattr(hugepages, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    return SimpleNamespace(calls=calls, unknown=unknown)


def filled(blocks, share=1.0):
    """Pages for so many blocks and one more, of which a share is written to; and what notes them."""
    pages = HugePages()
    with pages.filled():
        memory = mmap.mmap(-1, (blocks + 1) * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        array = np.frombuffer(memory, np.uint8)
        array[: int(len(array) * share)] = 7
    return pages, array


def within(calls, array):
    start = array.ctypes.data
    return {block for block, _, _ in calls if start <= block <= start + len(array) - SIZE}


def test_blocks_that_loading_filled_are_moved(system, advised):
    pages, array = filled(4)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert len(within(advised.calls, array)) in (4, 5)  # the mapping need not begin where a block does
    assert all(block % SIZE == 0 and length == SIZE for block, length, _ in advised.calls)


def test_a_block_that_is_not_full_stays_so_that_no_memory_is_added(system, advised):
    pages, array = filled(4, share=0.5)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert 1 <= len(within(advised.calls, array)) <= 2


def test_what_was_full_before_is_not_ours(system, advised):
    _, before = filled(2)
    pages, _ = filled(2)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert not within(advised.calls, before)


def test_nothing_is_moved_before_the_first_computation_and_then_for_a_share_of_its_time(system, advised):
    pages, _ = filled(8)
    pages.spend()
    assert not advised.calls
    pages.earn(3 / SHARE)
    pages.spend()
    assert len(advised.calls) == 3
    pages.earn(1 / SHARE)
    pages.spend()
    assert len(advised.calls) == 4


def test_older_systems_are_asked_to_do_it_some_time(system, advised):
    advised.unknown.add(hugepages._COLLAPSE)
    pages, array = filled(2)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert {advice for *_, advice in advised.calls} == {hugepages._COLLAPSE, mmap.MADV_HUGEPAGE}
    assert len(within(advised.calls, array)) in (2, 3)


def test_where_the_system_wants_no_huge_pages_nothing_is_moved(system, advised):
    system.write_text("always madvise [never]\n")
    pages, _ = filled(2)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert not advised.calls


@pytest.mark.parametrize("name", ["mappings", "entries"])
def test_where_the_system_tells_nothing_nothing_is_moved(system, advised, monkeypatch, name):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(hugepages, name, refuse)
    pages, _ = filled(2)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert not advised.calls


def test_a_computation_goes_on_where_the_system_tells_nothing_any_more(system, advised, monkeypatch):
    def refuse(*_):
        raise OSError("Too many open files")

    pages, _ = filled(2)
    monkeypatch.setattr(hugepages, "entries", refuse)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert not advised.calls


def test_what_was_freed_meanwhile_is_not_taken_again(system, advised):
    pages, array = filled(4)
    memory = array.base
    while not isinstance(memory, mmap.mmap):
        memory = memory.base if hasattr(memory, "base") else memory.obj
    memory.madvise(mmap.MADV_DONTNEED)
    pages.earn(1000 / SHARE)
    pages.spend()
    assert not within(advised.calls, array)


def test_where_there_are_none_loading_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hugepages, "_SYSTEM", tmp_path / "none")
    pages, _ = filled(1)
    pages.earn(1)
    pages.spend()


def test_what_is_moved_holds_what_it_held():
    pages, array = filled(3)
    pages.earn(1000)
    pages.spend()
    assert (array == 7).all()
    assert any(start <= array.ctypes.data < end for start, end, _ in mappings())
