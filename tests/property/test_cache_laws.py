from hypothesis import given, settings
from hypothesis import strategies as st

from llmbuilder.decoding.slots import plan_slots
from llmbuilder.engine.model import PREFILL_CHUNK, chunk_sizes

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
