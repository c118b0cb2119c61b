import numpy as np
import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.continuation import Continuation, TextStream
from llmbuilder.decoding.loop import Loop
from llmbuilder.decoding.prompt import prepare
from llmbuilder.decoding.samples import SampleGroup
from llmbuilder.decoding.sampling import make_sampler
from llmbuilder.decoding.stopping import StopMatcher
from llmbuilder.detokenizer import Detokenizer
from llmbuilder.errors import ContextOverflowError
from llmbuilder.testing import BYTE_VOCAB, EOS, FakeDecoder, FakeModel, fake_engine, random_rule, scripted

A = ord("a")


def countdown(ids):
    """A rule: a prompt of the one id n is followed by n times ``a``, then EOS."""
    logits = np.zeros(BYTE_VOCAB, np.float32)
    logits[A if len(ids) <= ids[0] else EOS] = 10
    return logits


class Recorder(FakeDecoder):
    """Remembers the rows after each step, and the lengths of what was prefilled."""

    def __init__(self, rule, context_length=64):
        super().__init__(FakeModel(rule, context_length=context_length))
        self.stepped = []
        self.prefills = []

    def prefill(self, row, ids, keep=1):
        self.prefills.append(len(ids))
        return super().prefill(row, ids, keep)

    def step(self, tokens):
        logits = super().step(tokens)
        self.stepped.append([tuple(row) for row in self.rows[: len(tokens)]])
        return logits

    @property
    def step_sizes(self):
        return [len(rows) for rows in self.stepped]


def group(ids, *, context_length=64, **options):
    engine = fake_engine(countdown, context_length=context_length)
    prompt = prepare(engine, ids, "", GenerationConfig(**{"do_sample": False, **options}))
    detokenizer = Detokenizer(engine.tokenizer)

    def continuation(index):
        sampler = make_sampler(
            prompt.config,
            prompt_ids=prompt.ids,
            eos_ids=prompt.eos_ids,
            vocab_size=BYTE_VOCAB,
            sequence_index=index,
        )
        stream = TextStream(
            detokenizer, StopMatcher(prompt.config.stop_strings or ()), detokenizer.start(prompt.ids)
        )
        return Continuation(prompt, sampler, stream)

    return SampleGroup(prompt, [continuation(k) for k in range(prompt.config.num_return_sequences)])


def decode(decoder, groups, max_rows=8):
    """Run groups to their ends; yield a group whenever it has advanced."""
    loop = Loop(lambda **_: decoder, max_rows=max_rows)
    for each in groups:
        loop.add(each)
    while not loop.idle:
        yield from loop.advance()


def run(decoder, groups, max_rows=8):
    for _ in decode(decoder, groups, max_rows):
        pass
    return [[completion.token_ids for completion in g.completions()] for g in groups]


def test_every_prompt_is_computed_by_itself_and_steps_are_shared():
    decoder = Recorder(countdown)
    run(decoder, [group([9]), group([9, 1, 1]), group([9, 1])])
    assert decoder.prefills == [1, 3, 2]
    assert decoder.step_sizes[0] == 3


def test_rows_that_have_ended_are_dropped():
    decoder = Recorder(countdown)
    results = run(decoder, [group([1]), group([3]), group([2])])
    assert results == [[(A,) * n + (EOS,)] for n in (1, 3, 2)]
    assert decoder.step_sizes == [3, 2, 1]


def test_the_next_prompt_takes_the_row_that_comes_free():
    decoder = Recorder(countdown)
    results = run(decoder, [group([n]) for n in (1, 3, 1, 1)], max_rows=2)
    assert results == [[(A,) * n + (EOS,)] for n in (1, 3, 1, 1)]
    assert decoder.step_sizes == [2, 2, 2]


def test_a_row_that_moves_takes_its_tokens_along():
    decoder = Recorder(countdown)
    run(decoder, [group([1]), group([4]), group([3])])
    assert [rows[0][0] for rows in decoder.stepped] == [1, 3, 3, 4]
    assert all(row == (row[0],) + (A,) * (len(row) - 1) for rows in decoder.stepped for row in rows)


def test_a_prompt_that_ends_with_its_first_token_takes_no_step():
    decoder = Recorder(countdown)
    assert run(decoder, [group([0, 9])]) == [[(EOS,)]]
    assert decoder.stepped == []


def test_continuations_of_one_prompt_share_its_computation():
    decoder = Recorder(random_rule())
    (results,) = run(
        decoder, [group([5, 6, 7], do_sample=True, seed=1, num_return_sequences=3, max_new_tokens=4)]
    )
    assert decoder.prefills == [3]
    assert decoder.step_sizes == [3, 3, 3]
    assert len(set(results)) == 3
    for rows in decoder.stepped:
        assert all(row[:3] == (5, 6, 7) for row in rows)


def test_a_group_waits_until_all_its_rows_fit():
    decoder = Recorder(random_rule())
    wide = {
        "do_sample": True,
        "seed": 1,
        "num_return_sequences": 3,
        "max_new_tokens": 3,
        "early_stopping": False,
    }
    narrow = {"max_new_tokens": 2, "early_stopping": False}
    run(decoder, [group([5], **narrow), group([6], **wide), group([7], **narrow)], max_rows=3)
    assert decoder.step_sizes == [1, 3, 3, 1]


def test_a_group_is_reported_each_time_it_has_advanced():
    one, other = group([1]), group([2])
    reported = list(decode(Recorder(countdown), [one, other]))
    assert [g is one for g in reported] == [True, False, True, False, False]


def last_of(text, window):
    return tuple(text[-window:])


def test_without_cache_every_token_follows_from_exactly_the_last_window():
    window, prompt = 8, [1, 2, 3, 4, 5]
    decoder = Recorder(random_rule(), context_length=window)
    options = {"use_cache": False, "max_new_tokens": 12, "early_stopping": False}
    ((new,),) = run(decoder, [group(prompt, context_length=window, **options)])
    text = [*prompt, *new]
    seen = [rows[0] for rows in decoder.stepped]
    assert seen == [last_of(text[: len(prompt) + n], window) for n in range(1, 12)]


def test_a_full_window_slides_to_its_last_three_quarters():
    window, prompt = 8, [1, 2, 3, 4, 5, 6]
    decoder = Recorder(random_rule(), context_length=window)
    ((new,),) = run(decoder, [group(prompt, context_length=window, max_new_tokens=9, early_stopping=False)])
    text = [*prompt, *new]
    lengths = [len(rows[0]) for rows in decoder.stepped]
    assert lengths == [7, 8, 6, 7, 8, 6, 7, 8]
    assert [rows[0] for rows in decoder.stepped] == [
        last_of(text[: 6 + n + 1], k) for n, k in enumerate(lengths)
    ]


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
def test_the_smallest_windows_slide_too(window):
    decoder = Recorder(random_rule(), context_length=window)
    ((new,),) = run(decoder, [group([1], context_length=window, max_new_tokens=20, early_stopping=False)])
    assert len(new) == 20
    for n, (row,) in enumerate(decoder.stepped):
        assert row == last_of([1, *new[: n + 1]], len(row))


def test_a_full_window_may_end_the_text():
    decoder = Recorder(random_rule(), context_length=8)
    stopped = group([1] * 6, context_length=8, context_overflow="stop", early_stopping=False)
    ((new,),) = run(decoder, [stopped])
    assert len(new) == 3  # two more fit, and what follows the full window
    assert stopped.completions()[0].finish_reason == "length"


def test_a_group_that_ends_with_the_window_is_reported_with_its_last_text():
    rule = scripted("abcEN", end=False)
    stopped = group([1] * 4, context_length=8, context_overflow="stop", stop_strings="END")
    shown = [piece.text for g in decode(Recorder(rule, 8), [stopped]) for piece in g.pieces()]
    assert "".join(shown) == "abcEN"


def test_one_full_window_does_not_end_its_neighbours():
    decoder = Recorder(random_rule(), context_length=8)
    options = {"context_length": 8, "early_stopping": False, "max_new_tokens": 6}
    results = run(decoder, [group([1] * 7, context_overflow="stop", **options), group([2], **options)])
    assert [len(new) for (new,) in results] == [2, 6]


def test_a_full_window_may_be_an_error():
    failing = group([1] * 6, context_length=8, context_overflow="error", early_stopping=False)
    with pytest.raises(ContextOverflowError, match=r"window of 8 tokens.*slide.*stop"):
        run(Recorder(random_rule(), 8), [failing])


def test_a_text_that_ends_with_the_window_is_no_overflow():
    exact = group([1] * 6, context_length=8, context_overflow="error", early_stopping=False, max_new_tokens=3)
    assert len(run(Recorder(random_rule(), 8), [exact])[0][0]) == 3


def test_nothing_to_do_is_done_at_once():
    assert list(decode(Recorder(countdown), [])) == []
