"""The loop while it runs: groups that come and go, chunks between steps, pieces as they come, memory."""

import queue
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbuilder.decoding.loop import Loop
from llmbuilder.errors import ConfigError, LLMBuilderError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import FakeDecoder, FakeModel, fake_engine, random_rule

ENDLESS = {"early_stopping": False, "do_sample": False}


class Watched(FakeModel):
    """Notes every run as (decoder, rows stepped) or (decoder, tokens of a chunk, row)."""

    def __init__(self, **options):
        super().__init__(random_rule(), **options)
        self.runs = []
        self.decoders = 0
        self.opened = []
        self.broken = None

    def decoder(self, **_):
        model, number = self, self.decoders
        self.decoders += 1

        class Noted(FakeDecoder):
            def prefill(self, row, ids, keep=1):
                if model.broken == list(ids):
                    raise LLMBuilderError("this prompt breaks")
                model.runs.append(("fill", number, len(ids)))
                return super().prefill(row, ids, keep)

            def step(self, tokens):
                if model.broken == "step":
                    raise LLMBuilderError("this step breaks")
                model.runs.append(("step", number, len(tokens)))
                return super().step(tokens)

        self.opened.append(Noted(self))
        return self.opened[-1]


def make(**options):
    """A generator over a watched model, and the model."""
    engine = fake_engine(random_rule())
    model = Watched(context_length=options.pop("window", 64))
    object.__setattr__(engine, "model", model)
    return TextGenerator.from_engine(engine), model


def run(loop):
    """To its end; the groups that were told, in order."""
    told = []
    while not loop.idle:
        told += loop.advance()
    return told


def tokens(group):
    return [completion.token_ids for completion in group.completions()]


def joined(pieces):
    """What pieces of each sequence make together."""
    found = {}
    for piece in pieces:
        text, ids, logprobs = found.get(piece.sequence, ("", (), ()))
        found[piece.sequence] = (text + piece.text, ids + piece.token_ids, logprobs + (piece.logprobs or ()))
    return found


class TestFeeding:
    def test_a_prompt_joins_while_others_run(self):
        generator, model = make()
        loop = generator.loop(4)
        first = generator.group("abc", max_new_tokens=9, **ENDLESS)
        loop.add(first)
        for _ in range(4):
            loop.advance()
        loop.add(generator.group("de", max_new_tokens=3, **ENDLESS))
        run(loop)
        steps = [rows for kind, _, rows in model.runs if kind == "step"]
        assert steps == [1, 1, 1, 2, 2, 1, 1, 1]

    def test_nothing_at_the_moment_stops_nobody(self):
        generator, model = make()
        running = []

        def requests():
            yield "abc", {"max_new_tokens": 6}
            while model.steps < 3:
                running.append(model.steps)
                yield None
            yield "de", {"max_new_tokens": 2}

        done = [number for number, _ in generator.complete_each(requests(), **ENDLESS)]
        assert set(running) == {0, 1, 2}
        assert done == [1, 0]

    def test_nothing_at_the_moment_and_nothing_to_do_waits(self):
        generator, _ = make()
        source = iter([None, None, ("abc", None), None, None])
        ((number, (completion,)),) = generator.complete_each(source, max_new_tokens=2, **ENDLESS)
        assert (number, len(completion.token_ids)) == (0, 2)

    def test_texts_of_prompts_fed_by_a_thread_are_those_of_the_prompts_alone(self):
        generator, _ = make()
        options = [
            {"seed": n, "max_new_tokens": 3 + n % 7, "early_stopping": False, "logprobs": n % 3, **extra}
            for n, extra in enumerate(
                [{}, {"num_return_sequences": 3}, {"num_beams": 2}, {"prompt_lookup_num_tokens": 2}] * 6
            )
        ]
        prompts = ["abc" * (1 + n % 4) for n in range(len(options))]
        fed = queue.SimpleQueue()

        def feed():
            for n, each in enumerate(options):
                fed.put(generator.group(prompts[n], tag=n, **each))
            fed.put(None)

        loop = generator.loop(4)
        threading.Thread(target=feed).start()
        pieces = {n: [] for n in range(len(options))}
        groups = {}
        more = True
        while more or not loop.idle:
            while more and (loop.idle or not fed.empty()):
                group = fed.get()
                more = group is not None
                if group is None:
                    break
                groups[group.tag] = group
                loop.add(group)
            for group in loop.advance():
                pieces[group.tag] += group.pieces()
            for n in (5, 12):
                if n in groups and pieces[n]:
                    loop.cancel(groups[n])
                    pieces[n] += groups[n].pieces()
        for n, group in groups.items():
            if n in (5, 12):
                assert group.completions()[0].finish_reason == "cancelled"
                continue
            alone = generator.complete(prompts[n], **options[n])
            assert [(c.text, c.token_ids, c.logprobs) for c in group.completions()] == [
                (c.text, c.token_ids, c.logprobs) for c in alone
            ]
            assert [joined(pieces[n])[k] for k in range(len(alone))] == [
                (c.text, c.token_ids, c.logprobs or ()) for c in alone
            ]


class TestPieces:
    def test_come_token_by_token_with_their_logprobs_and_end_once(self):
        generator, _ = make()
        group = generator.group(
            "abc", max_new_tokens=4, num_return_sequences=2, logprobs=1, early_stopping=False
        )
        loop = generator.loop(2)
        loop.add(group)
        pieces = []
        while not loop.idle:
            loop.advance()
            pieces.append(group.pieces())
        assert [[(p.sequence, len(p.token_ids), len(p.logprobs)) for p in told] for told in pieces] == [
            [(0, 1, 1), (1, 1, 1)]
        ] * 4
        ends = [[p.finish_reason for p in told] for told in pieces]
        assert ends == [[None, None]] * 3 + [["length", "length"]]
        assert group.pieces() == []

    def test_of_a_beam_search_come_at_its_end_best_first(self):
        generator, _ = make()
        group = generator.group("abc", max_new_tokens=3, num_beams=3, num_return_sequences=2, do_sample=False)
        loop = generator.loop(3)
        loop.add(group)
        run(loop)
        pieces = group.pieces()
        assert [piece.token_ids for piece in pieces] == tokens(group)
        assert group.pieces() == []


class TestCancelling:
    @pytest.mark.parametrize("turns", [0, 1, 2, 5])
    @pytest.mark.parametrize(
        "options",
        [{}, {"num_beams": 2}, {"num_beams": 6}, {"prompt_lookup_num_tokens": 2}, {"use_cache": False}],
    )
    def test_ends_one_group_wherever_it_stands_and_changes_no_other(self, turns, options):
        generator, _ = make()
        loop = Loop(generator.engine.model.decoder, max_rows=3, chunk=2)
        ended = generator.group("abcdef", max_new_tokens=9, early_stopping=False, seed=1, **options)
        stays = generator.group("abcd", max_new_tokens=9, early_stopping=False, seed=2)
        loop.add(ended)
        loop.add(stays)
        for _ in range(turns):
            loop.advance()
        loop.cancel(ended)
        loop.cancel(ended)
        told = run(loop)
        assert told.count(ended) == 1
        assert ended.completions()[0].finish_reason == "cancelled"
        assert [p.finish_reason for p in ended.pieces()] == ["cancelled"] * len(ended.completions())
        alone = generator.complete("abcd", max_new_tokens=9, early_stopping=False, seed=2)
        assert tokens(stays) == [completion.token_ids for completion in alone]

    def test_what_is_done_stays_as_it_is(self):
        generator, _ = make()
        group = generator.group("ab", max_new_tokens=2, **ENDLESS)
        loop = generator.loop(1)
        loop.add(group)
        run(loop)
        loop.cancel(group)
        assert loop.idle
        assert group.completions()[0].finish_reason == "length"


class TestChunks:
    def test_of_a_long_prompt_alternate_with_the_steps_of_others(self):
        generator, model = make()
        loop = Loop(model.decoder, max_rows=2, chunk=4)
        loop.add(generator.group("ab", max_new_tokens=8, **ENDLESS))
        loop.advance()
        loop.add(generator.group("x" * 13, max_new_tokens=2, **ENDLESS))
        run(loop)
        assert model.runs[:8] == [
            ("fill", 0, 2), ("step", 0, 1),
            ("fill", 0, 4), ("step", 0, 1),
            ("fill", 0, 4), ("step", 0, 1),
            ("fill", 0, 3), ("step", 0, 1),
        ]  # fmt: skip
        assert model.runs[8:10] == [("fill", 0, 2), ("step", 0, 2)]

    def test_what_is_still_to_be_computed_is_told(self):
        generator, model = make()
        loop = Loop(model.decoder, max_rows=4, chunk=4)
        assert (loop.rows, loop.texts) == (0, [])
        for prompt in ("ab", "x" * 13, "abc"):
            loop.add(generator.group(prompt, max_new_tokens=8, num_return_sequences=2, early_stopping=False))
        loop.admit()
        assert (loop.rows, loop.texts) == (4, [2, 13])
        loop.advance()
        assert loop.texts == [11]
        for _ in range(2):
            loop.advance()
        assert (loop.rows, loop.texts) == (4, [7])

    def test_of_short_prompts_share_a_turn(self):
        generator, model = make()
        loop = generator.loop(4)
        for prompt in ("ab", "abc", "abcd"):
            loop.add(generator.group(prompt, max_new_tokens=3, **ENDLESS))
        run(loop)
        assert [rows for _, _, rows in model.runs] == [2, 3, 4, 3, 3]

    def test_a_full_window_is_computed_again_while_others_step(self):
        generator, model = make(window=16)
        loop = Loop(model.decoder, max_rows=2, chunk=4)
        slides = generator.group("a" * 15, max_new_tokens=6, **ENDLESS)
        loop.add(generator.group("b", max_new_tokens=15, **ENDLESS))
        loop.add(slides)
        run(loop)
        full = model.runs.index(("step", 0, 2))
        assert model.runs[full + 1 : full + 7] == [("fill", 0, 4), ("step", 0, 1)] * 2 + [
            ("fill", 0, 3),
            ("step", 0, 2),
        ]
        assert tokens(slides) == [generator.complete("a" * 15, max_new_tokens=6, **ENDLESS)[0].token_ids]

    @given(
        st.lists(
            st.tuples(
                st.integers(1, 14),
                st.integers(1, 12),
                st.sampled_from(
                    [
                        {},
                        {"num_return_sequences": 2},
                        {"num_beams": 2},
                        {"num_beams": 5},
                        {"use_cache": False},
                        {"prompt_lookup_num_tokens": 2},
                    ]
                ),
                st.integers(0, 3),
                st.sampled_from([None, None, None, 1, 4]),
            ),
            min_size=1,
            max_size=7,
        ),
        st.integers(2, 9),
        st.integers(1, 4),
    )
    def test_of_any_size_and_any_coming_and_going_change_no_text(self, requests, chunk, max_rows):
        generator, model = make(window=16)
        loop = Loop(model.decoder, max_rows=max_rows, chunk=chunk)
        groups = []
        for length, new, options, wait, cancelled in requests:
            all_options = {"max_new_tokens": new, "seed": 3, "early_stopping": False, **options}
            group = generator.group([97 + length] * length, **all_options)
            groups.append((group, length, all_options, cancelled))
            loop.add(group)
            for _ in range(wait):
                loop.advance()
            if cancelled is not None and len(groups) % 4 == cancelled % 4:
                loop.cancel(group)
        run(loop)
        for group, length, options, _ in groups:
            alone = generator.complete([97 + length] * length, **options)
            if group.completions() and group.completions()[0].finish_reason != "cancelled":
                assert tokens(group) == [completion.token_ids for completion in alone]


class TestRunsOfTheirOwn:
    def test_a_group_wider_than_all_rows_takes_turns_with_the_others(self):
        generator, model = make()
        loop = generator.loop(2)
        wide = generator.group("abc", max_new_tokens=5, num_beams=4, do_sample=False)
        others = [generator.group("ab", max_new_tokens=3, **ENDLESS) for _ in range(4)]
        for group in (others[0], wide, *others[1:]):
            loop.add(group)
        run(loop)
        steps = [(number, rows) for kind, number, rows in model.runs if kind == "step"]
        assert steps == [(0, 2), (1, 4), (0, 2), (1, 4), (0, 2), (1, 4), (0, 2), (1, 4)]
        assert tokens(wide) == [
            generator.complete("abc", max_new_tokens=5, num_beams=4, do_sample=False)[0].token_ids
        ]

    def test_two_wide_groups_follow_each_other_and_hold_up_nobody(self):
        generator, model = make()
        loop = generator.loop(2)
        for _ in range(2):
            loop.add(generator.group("abc", max_new_tokens=4, num_beams=3, do_sample=False))
        other = generator.group("ab", max_new_tokens=2, **ENDLESS)
        loop.add(other)
        told = run(loop)
        assert told.index(other) < 2
        assert max(rows for kind, _, rows in model.runs if kind == "step") == 3

    def test_speculation_goes_on_beside_others(self):
        generator, model = make()
        prompt = "the cat and the dog and the cat"
        loop = generator.loop(2)
        guessing = generator.group(prompt, max_new_tokens=8, prompt_lookup_num_tokens=3, **ENDLESS)
        loop.add(guessing)
        loop.add(generator.group("ab", max_new_tokens=8, **ENDLESS))
        run(loop)
        assert {number for _, number, _ in model.runs} == {0, 1}
        assert tokens(guessing) == [generator.complete(prompt, max_new_tokens=8, **ENDLESS)[0].token_ids]


class TestMemory:
    def test_who_does_not_fit_waits_and_lets_nobody_pass(self):
        generator, model = make()
        model.budget = 20
        loop = generator.loop(8)
        large = generator.group("abcdefgh", max_new_tokens=8, **ENDLESS)
        small = [generator.group("ab", max_new_tokens=4, **ENDLESS) for _ in range(2)]
        for group in (small[0], large, small[1]):
            loop.add(group)
        told = run(loop)
        order = list(dict.fromkeys(told))
        assert order == [small[0], large, small[1]]
        assert max(rows for kind, _, rows in model.runs if kind == "step") == 1

    def test_who_could_never_fit_is_refused_with_the_numbers(self):
        generator, model = make()
        model.budget = 20
        group = generator.group("abcd", max_new_tokens=9, num_beams=2, do_sample=False)
        loop = generator.loop(2)
        loop.add(group)
        assert run(loop) == [group]
        with pytest.raises(ConfigError, match=r"26 tokens.*2 rows.*memory for 20.*Lower"):
            group.completions()


class TestSlots:
    def test_of_rows_that_ended_are_empty(self):
        """So that their memory can be given back while others go on."""
        generator, _ = make()
        loop = generator.loop(3)
        groups = [generator.group("a" * n, max_new_tokens=n, **ENDLESS) for n in (2, 9, 4)]
        for group in groups:
            loop.add(group)
        while not loop.idle:
            ended = {group for group in loop.advance() if group.width == 0}
            (decoder,) = generator.engine.model.opened
            if ended:
                held = sorted(length for length in decoder.lengths if length)
                going_on = [group for group in groups if group.width]
                assert len(held) == len(going_on)


class TestFailures:
    def test_of_a_prompt_end_that_prompt(self):
        generator, model = make()
        model.broken = list(b"bad")
        found = dict(
            generator.complete_each([("good", None), ("bad", None), ("fine", None)], max_new_tokens=3)
        )
        assert str(found[1]) == "this prompt breaks"
        assert [len(found[n][0].token_ids) for n in (0, 2)] == [3, 3]

    def test_of_a_common_step_end_the_rows_that_took_part_and_the_others_go_on(self):
        generator, model = make()
        loop = generator.loop(2)
        groups = [generator.group("ab", max_new_tokens=4, **ENDLESS) for _ in range(3)]
        for group in groups:
            loop.add(group)
        loop.advance()
        model.broken = "step"
        loop.advance()
        model.broken = None
        run(loop)
        assert [group.error is None for group in groups] == [False, False, True]
        assert len(tokens(groups[2])[0]) == 4
