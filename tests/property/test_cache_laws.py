import ctypes
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbuilder.decoding.rows import chunk_sizes
from llmbuilder.decoding.slots import plan_slots
from llmbuilder.engine.cache import LONG, HostCache
from llmbuilder.engine.cuda.cache import DeviceCache, SavedRow
from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.cuda.slab import Mover, Slab
from llmbuilder.engine.decoder import PREFILL_CHUNK
from llmbuilder.engine.layout import CacheTensor

exactly = settings(max_examples=150, derandomize=True)

sources = st.lists(st.integers(0, 11), max_size=12)


@exactly
@given(sources)
def test_every_row_gets_a_slot_of_its_own_from_0_on(sources):
    slots, _ = plan_slots(sources)
    assert sorted(slots) == list(range(len(sources)))


@exactly
@given(sources, st.randoms(use_true_random=False))
def test_in_any_order_of_copies_every_row_ends_with_its_source(sources, random):
    slots, copies = plan_slots(sources)
    random.shuffle(copies)
    content = {slot: f"row {slot}" for slot in range(12)}
    for source, target in copies:
        content[target] = content[source]
    assert [content[slot] for slot in slots] == [f"row {source}" for source in sources]


@exactly
@given(sources)
def test_no_fewer_copies_are_possible(sources):
    _, copies = plan_slots(sources)
    # A slot spares a copy only if some row continues it, and only one row.
    assert len(copies) == len(sources) - len({source for source in sources if source < len(sources)})


@exactly
@given(st.integers(0, 5000), st.sampled_from([3, 4, 7, 64, 128, PREFILL_CHUNK]))
def test_chunks_cover_everything_and_none_is_a_token_alone(count, largest):
    sizes = chunk_sizes(count, largest)
    assert sum(sizes) == count
    assert all(2 <= size <= largest for size in sizes) or sizes == [1]


WINDOW = 3 * LONG
SLOTS = 3
LAYOUT = (
    CacheTensor("past.0.key", "present.0.key", heads=2, size=16, dtype=np.dtype(np.float32)),
    CacheTensor("past.0.value", "present.0.value", heads=1, size=8, dtype=np.dtype(np.float16)),
)
slots = st.integers(0, SLOTS - 1)
lengths = st.integers(0, WINDOW) | st.integers(0, 40)
verbs = st.lists(
    st.tuples(st.sampled_from(["append", "truncate"]), slots, lengths)
    | st.tuples(st.just("copy"), slots, slots)
    | st.tuples(st.just("save"), slots, st.just(0))
    | st.tuples(st.just("load"), slots, lengths)
    | st.tuples(st.just("slots"), st.integers(1, 8), st.just(0)),
    max_size=25,
)


class Remembered:
    """What every verb means, on lists: each token is a number of its own."""

    def __init__(self):
        self.rows = [[] for _ in range(SLOTS)]
        self.kept = []
        self.written = 0

    def new(self, count):
        self.written += count
        return list(range(self.written - count, self.written))


def saved(tokens):
    """A kept row of these tokens, as a cache of `LAYOUT` keeps it."""
    numbers = np.array(tokens, np.float32) % 2048  # exact in float16
    return [
        np.broadcast_to(numbers[None, :, None], (t.heads, len(tokens), t.size)).astype(t.dtype)
        for t in LAYOUT
    ]


class Borrowed:
    """Memory of the process as a device's: a cache gets at it by moving slabs only."""

    def __init__(self):
        self.place, self.lock = Place("cpu"), threading.RLock()
        self.mover = Mover(self.place, LAYOUT)

    def take(self, slots, capacity):
        slab = Slab(self.place, LAYOUT, slots, capacity)
        self.mover.clear(slab)
        return SimpleNamespace(slab=slab, slots=slots, capacity=capacity)

    def give_back(self, _):
        pass


BORROWED = Borrowed()


def device_cache(_, **sizes):
    return DeviceCache(BORROWED, **sizes)


def arrays(kept):
    """A kept row, by whatever cache, as arrays of its valid tokens."""
    if not isinstance(kept, SavedRow):
        return kept
    views = []
    for tensor, address in zip(LAYOUT, kept.slab.addresses(0), strict=True):
        shape = kept.slab.shape(tensor, 1)[1:]
        content = ctypes.string_at(address, tensor.bytes_per_token * kept.slab.capacity)
        views.append(np.frombuffer(content, tensor.dtype).reshape(shape)[:, : kept.length])
    return views


def kept(cache, row):
    """Arrays as a row that this cache has kept."""
    if isinstance(cache, HostCache):
        return row
    length = row[0].shape[1]
    slab = Slab(BORROWED.place, LAYOUT, 1, max(length, 1))
    for array, address in zip(row, slab.addresses(0), strict=True):
        ctypes.memmove(address, array.tobytes(), array.nbytes)
    return SavedRow(slab, length)


def append(cache, slot, tokens):
    """As the graph does: the slot's own content, longer."""
    row = [
        np.concatenate([before, after], axis=1)
        for before, after in zip(arrays(cache.save(slot)), saved(tokens), strict=True)
    ]
    cache.load(slot, kept(cache, row), row[0].shape[1])


def apply(cache, known, verb, first, second):
    """One verb on the cache, and what it means on lists."""
    row = known.rows[first] if first < SLOTS else []
    match verb:
        case "append":
            tokens = known.new(min(second, WINDOW - len(row)))
            cache.reserve(capacity=len(row) + len(tokens))
            append(cache, first, tokens)
            row += tokens
        case "truncate":
            cache.truncate(first, second)
            del row[second:]
        case "copy":
            cache.copy(first, second)
            known.rows[second] = list(row)
        case "save":
            known.kept = [cache.save(first), list(row)]
        case "load" if known.kept:
            length = min(second, len(known.kept[1]))
            cache.load(first, known.kept[0], length)
            known.rows[first] = known.kept[1][:length]
        case "slots":
            cache.reserve(slots=first)


@pytest.mark.parametrize("kind", [HostCache, device_cache])
@settings(max_examples=60, derandomize=True)
@given(verbs)
def test_whatever_is_done_to_a_cache_every_slot_holds_its_own_tokens(kind, verbs):
    cache = kind(LAYOUT, slots=SLOTS, capacity=64, limit=WINDOW)
    known = Remembered()
    for verb in verbs:
        apply(cache, known, *verb)
        assert cache.lengths[:SLOTS] == [len(row) for row in known.rows]
        assert cache.capacity >= max(cache.lengths)
    for slot, row in enumerate(known.rows):
        for found, wanted in zip(arrays(cache.save(slot)), saved(row), strict=True):
            np.testing.assert_array_equal(found, wanted)
