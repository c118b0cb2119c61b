import errno
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmbuilder.decoding.slots import plan_slots
from llmbuilder.engine import cache as module
from llmbuilder.engine import pages
from llmbuilder.engine.cache import HostCache
from llmbuilder.engine.layout import CacheTensor
from llmbuilder.errors import DeviceError

FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.int8)
LAYOUT = (
    CacheTensor("past.0.key", "present.0.key", heads=2, size=3, dtype=FLOAT),
    CacheTensor("past.0.value", "present.0.value", heads=2, size=5, dtype=FLOAT),
    CacheTensor("past.1.key", "present.1.key", heads=1, size=4, dtype=BYTE),
)
BYTES_PER_TOKEN = 2 * 3 * 4 + 2 * 5 * 4 + 4


def make_cache(slots=1, capacity=4, limit=16):
    return HostCache(LAYOUT, slots=slots, capacity=capacity, limit=limit)


class Binding:
    """Stands in for ONNX Runtime's: what was bound, by name."""

    def __init__(self):
        self.inputs, self.outputs = {}, {}

    def bind_ortvalue_input(self, name, value):
        self.inputs[name] = value.numpy()

    def bind_ortvalue_output(self, name, value):
        self.outputs[name] = value.numpy()


def bound(cache, first, count):
    binding = Binding()
    cache.bind(binding, first, count)
    return binding


def write(cache, slot, tokens):
    """Append numbers to a slot that say which tensor, slot and token they are of, as the graph does."""
    before = cache.lengths[slot]
    for number, view in enumerate(bound(cache, slot, 1).outputs.values()):
        content = 10 * number + 20 * slot + np.arange(before, before + tokens)
        view[0, :, before : before + tokens] = content[None, :, None]
    cache.extend(slot, 1, tokens)


def assert_holds(cache, slot, expected):
    assert cache.lengths[slot] == expected[0].shape[1]
    for found, wanted in zip(cache.save(slot), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


RESIDENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_cache import make_cache, np, CacheTensor, FLOAT, HostCache, write

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

layout = [CacheTensor(f"past.{n}", f"present.{n}", heads=2, size=64, dtype=FLOAT) for n in range(8)]
cache = HostCache(layout, slots=64, capacity=64, limit=8192)
write(cache, 0, 1)
before = resident()
for slot in range(64):
    write(cache, slot, 20)
cache.reserve(capacity=4096)
write(cache, 63, 4000)
print(resident() - before, sum(t.bytes_per_token for t in layout))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_short_rows_beside_a_long_one_take_memory_for_their_own_tokens_only():
    """64 rows as long as the longest would be a gigabyte."""
    command = [sys.executable, "-c", RESIDENT, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, bytes_per_token = map(int, done.stdout.split())
    tokens = 4020 + 63 * 20
    pages_begun = 64 * 8 * 2 * 2 * mmap.PAGESIZE
    assert grown < 1.2 * tokens * bytes_per_token + pages_begun + (4 << 20)


class TestBinding:
    def test_past_and_present_are_the_same_memory_of_the_cache(self):
        binding = bound(make_cache(slots=3), 1, 2)
        assert list(binding.inputs) == [tensor.past for tensor in LAYOUT]
        assert list(binding.outputs) == [tensor.present for tensor in LAYOUT]
        for past, present in zip(binding.inputs.values(), binding.outputs.values(), strict=True):
            assert np.shares_memory(past, present)

    def test_each_tensor_has_its_own_shape_and_type(self):
        views = bound(make_cache(slots=3), 1, 2).inputs.values()
        assert [(view.shape, view.dtype) for view in views] == [
            ((2, 2, 4, 3), FLOAT),
            ((2, 2, 4, 5), FLOAT),
            ((2, 1, 4, 4), BYTE),
        ]
        assert all(view.flags.c_contiguous for view in views)

    def test_a_range_of_slots_is_those_slots(self):
        cache = make_cache(slots=3)
        for view in bound(cache, 1, 2).outputs.values():
            view[:] = 7
        assert all((view == 7).all() for view in bound(cache, 2, 1).inputs.values())
        assert all((view == 0).all() for view in bound(cache, 0, 1).inputs.values())


class TestRoom:
    def test_never_exceeds_the_window(self):
        assert make_cache(capacity=1000, limit=16).capacity == 16

    @pytest.mark.parametrize("asked", [{}, {"slots": 1}, {"capacity": 4}, {"slots": 1, "capacity": 1}])
    def test_that_is_there_is_not_made_again(self, asked):
        cache = make_cache()
        before = bound(cache, 0, 1).inputs
        cache.reserve(**asked)
        after = bound(cache, 0, 1).inputs
        assert all(np.shares_memory(before[name], after[name]) for name in before)

    @pytest.mark.parametrize(
        ("asked", "slots", "capacity"),
        [
            ({"slots": 3}, 4, 4),
            ({"slots": 9}, 9, 4),
            ({"capacity": 5}, 2, 8),
            ({"capacity": 11}, 2, 11),
            ({"slots": 3, "capacity": 5}, 4, 8),
        ],
    )
    def test_doubles_or_becomes_what_is_asked(self, asked, slots, capacity):
        cache = make_cache(slots=2)
        cache.reserve(**asked)
        assert (cache.slots, cache.capacity) == (slots, capacity)
        shapes = {view.shape[::2] for view in bound(cache, 0, slots).inputs.values()}
        assert shapes == {(slots, capacity)}

    def test_ends_at_the_window(self):
        cache = make_cache(limit=6)
        cache.reserve(capacity=5)
        assert cache.capacity == 6

    def test_that_grows_keeps_every_slots_tokens(self):
        cache = make_cache(slots=2)
        write(cache, 0, 4)
        write(cache, 1, 2)
        before = [cache.save(slot) for slot in (0, 1)]
        cache.reserve(slots=5, capacity=9)
        assert cache.lengths == [4, 2, 0, 0, 0]
        for slot in (0, 1):
            assert_holds(cache, slot, before[slot])

    def test_that_grows_copies_each_slots_own_tokens_only(self):
        cache = make_cache(slots=3)
        write(cache, 0, 4)
        write(cache, 1, 1)
        cache.reserve(capacity=9)
        assert cache.bytes_copied == 5 * BYTES_PER_TOKEN

    def test_that_grows_to_the_window_copies_less_than_twice_its_bytes(self):
        cache = make_cache(capacity=1, limit=1024)
        for tokens in range(1, 1025):
            cache.reserve(capacity=tokens)
            cache.extend(0, 1, 1)
        assert cache.bytes_copied < 2 * 1024 * BYTES_PER_TOKEN


class TestSlots:
    def test_are_copied_with_nothing_but_their_tokens(self):
        cache = make_cache(slots=2)
        write(cache, 0, 3)
        write(cache, 1, 4)
        kept = cache.save(0)
        cache.copy(0, 1)
        assert_holds(cache, 1, kept)
        assert cache.lengths == [3, 3]
        assert cache.bytes_copied == 3 * BYTES_PER_TOKEN

    def test_are_kept_apart_from_the_cache(self):
        cache = make_cache(slots=2)
        write(cache, 0, 4)
        kept = cache.save(0)
        cache.truncate(0, 0)
        write(cache, 1, 4)
        cache.load(1, kept, 2)
        assert_holds(cache, 1, [array[:, :2] for array in kept])

    def test_forget_their_end_and_write_over_it(self):
        cache = make_cache(slots=1)
        write(cache, 0, 4)
        kept = cache.save(0)
        cache.truncate(0, 1)
        write(cache, 0, 3)
        assert_holds(cache, 0, kept)

    def test_truncated_to_more_than_they_hold_stay(self):
        cache = make_cache(slots=1)
        write(cache, 0, 2)
        cache.truncate(0, 3)
        assert cache.lengths == [2]


class TestMemory:
    TOKENS = 4096
    TENSOR = CacheTensor("past", "present", heads=2, size=64, dtype=FLOAT)

    @pytest.fixture
    def given_back(self, monkeypatch):
        """Ranges of bytes that were given back."""
        ranges = []
        monkeypatch.setattr(module, "give_back", lambda array, *ends: ranges.append(ends))
        return ranges

    @pytest.fixture
    def cache(self):
        return HostCache((self.TENSOR,), slots=3, capacity=self.TOKENS, limit=self.TOKENS)

    def test_of_a_long_text_is_given_back_when_its_slot_is_emptied(self, cache, given_back):
        cache.extend(1, 1, 1000)
        cache.truncate(1, 100)
        head = self.TOKENS * 64 * 4
        assert given_back == [(start + 100 * 256, start + 1000 * 256) for start in (2 * head, 3 * head)]

    def test_is_given_back_once(self, cache, given_back):
        cache.extend(0, 1, 1000)
        cache.truncate(0, 10)
        cache.truncate(0, 0)
        assert len(given_back) == 2

    def test_is_given_back_though_a_text_is_forgotten_bit_by_bit(self, cache, given_back):
        cache.extend(0, 1, 1000)
        for length in range(1000, 0, -100):
            cache.truncate(0, length)
        assert given_back[0] == (400 * 256, 1000 * 256)

    def test_of_a_short_text_is_kept(self, cache, given_back):
        cache.extend(0, 1, module.LONG - 1)
        cache.truncate(0, 0)
        assert given_back == []

    def test_is_given_back_when_a_short_row_takes_the_place_of_a_long_one(self, cache, given_back):
        cache.extend(0, 1, 20)
        cache.extend(1, 1, 1000)
        cache.copy(0, 1)
        assert given_back[0] == ((2 * self.TOKENS + 20) * 256, (2 * self.TOKENS + 1000) * 256)

    def test_that_the_system_does_not_give_is_an_error_that_leaves_all_as_it_was(self, monkeypatch):
        cache = make_cache(slots=2)
        write(cache, 1, 3)
        kept = cache.save(1)
        real, calls = mmap.mmap, []

        def refuse_the_third(*args, **kwargs):
            calls.append(args)
            if len(calls) == 3:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            return real(*args, **kwargs)

        monkeypatch.setattr(pages.mmap, "mmap", refuse_the_third)
        with pytest.raises(
            DeviceError,
            match=rf"cache for 2 sequences of 9 tokens needs {18 * BYTES_PER_TOKEN} bytes.*Lower batch_size",
        ):
            cache.reserve(capacity=9)
        assert cache.capacity == 4
        assert_holds(cache, 1, kept)


class TestPages:
    def test_begin_as_zeros(self):
        array = pages.mapped_zeros((3, 5), FLOAT)
        assert (array.shape, array.dtype) == ((3, 5), FLOAT)
        assert (array == 0).all()

    def test_given_back_leave_what_lies_around_them(self):
        page = mmap.PAGESIZE
        held = pages.mapped_zeros((4 * page,), BYTE)
        held[:] = 1
        pages.give_back(held, 10, 3 * page + 10)
        assert (held[:page] == 1).all()
        assert (held[3 * page :] == 1).all()

    @pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 4095), (4096, 4096), (5000, 100)])
    def test_without_a_whole_page_to_give_back_keep_all(self, first, last):
        held = pages.mapped_zeros((2 * mmap.PAGESIZE,), BYTE)
        held[:] = 1
        pages.give_back(held, first, last)
        assert (held == 1).all()

    def test_are_an_ordinary_array_where_the_system_has_no_such_mapping(self, monkeypatch):
        monkeypatch.setattr(pages, "_PRIVATE", 0)
        held = pages.mapped_zeros((2 * mmap.PAGESIZE,), BYTE)
        held[:] = 1
        pages.give_back(held, 0, mmap.PAGESIZE)
        assert (held == 1).all()

    def test_need_no_kernel_that_knows_huge_pages(self, monkeypatch):
        monkeypatch.setattr(pages, "_SMALL_PAGES", 99)
        assert (pages.mapped_zeros((3,), FLOAT) == 0).all()


@pytest.mark.parametrize(
    ("sources", "slots", "copies"),
    [
        ([], [], []),
        ([0, 1, 2], [0, 1, 2], []),
        ([2, 0, 1], [2, 0, 1], []),
        ([0, 2], [0, 1], [(2, 1)]),
        ([3], [0], [(3, 0)]),
        ([0, 0, 0], [0, 1, 2], [(0, 1), (0, 2)]),
        ([1, 1, 2], [1, 0, 2], [(1, 0)]),
    ],
)
def test_rows_stay_where_they_are_if_they_can(sources, slots, copies):
    assert plan_slots(sources) == (slots, copies)
