"""`AsyncTextGenerator`: many tasks, one batch; every text is what its prompt gives alone."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path

import pytest

from llmbuilder.errors import BusyError, ConfigError, ContextOverflowError, DeviceError
from llmbuilder.generator import TextGenerator
from llmbuilder.inference import AsyncTextGenerator
from llmbuilder.testing import fake_engine, random_rule

STORYTELLER = Path(__file__).parent.parent.parent / "artifacts" / "storyteller" / "bundle"
ENDLESS = {"early_stopping": False, "max_new_tokens": 100_000}


def make(rule=None, *, window=64, **options):
    return AsyncTextGenerator(fake_engine(rule or random_rule(), context_length=window), **options)


def alone(prompt, **options):
    return TextGenerator.from_engine(fake_engine(random_rule())).complete(prompt, **options)


def facts(completions):
    return [(c.text, c.token_ids, c.logprobs, c.finish_reason) for c in completions]


async def until(condition):
    while not condition():  # noqa: ASYNC110 (what decodes is a thread)
        await asyncio.sleep(0.001)


class Gate:
    """A model that computes a token whenever it is let."""

    def __init__(self):
        self.permits = threading.Semaphore(0)
        self.is_open = False
        self.rule = random_rule()

    def __call__(self, ids):
        if not self.is_open:
            self.permits.acquire()
        return self.rule(ids)

    def open(self):
        self.is_open = True
        self.permits.release(1000)


MIXED = [
    ({"max_new_tokens": 20, "seed": 1}, "one"),
    ({"max_new_tokens": 90, "seed": 2, "temperature": 1.5}, "two, and on beyond the window"),
    ({"max_new_tokens": 12, "do_sample": False}, "three"),
    ({"max_new_tokens": 10, "do_sample": False, "num_beams": 3, "num_return_sequences": 2}, "four"),
    ({"max_new_tokens": 15, "seed": 5, "num_return_sequences": 3, "logprobs": 2}, "five"),
    ({"max_new_tokens": 15, "seed": 6, "prompt_lookup_num_tokens": 3}, "six six six"),
    ({"max_new_tokens": 8, "do_sample": False, "num_beams": 12}, "seven is wider than all"),
]


class TestTexts:
    def test_many_tasks_get_what_each_prompt_gives_alone(self):
        async def main():
            async with make() as generator:
                return await asyncio.gather(*(generator.complete(p, **o) for o, p in MIXED * 3))

        for (options, prompt), completions in zip(MIXED * 3, asyncio.run(main()), strict=True):
            assert facts(completions) == facts(alone(prompt, **options))

    def test_tasks_share_a_batch(self):
        engine = fake_engine(random_rule())

        async def main():
            async with AsyncTextGenerator(engine, max_rows=5) as generator:
                await asyncio.gather(
                    *(generator.generate(f"{n}", max_new_tokens=40, seed=n) for n in range(10))
                )

        asyncio.run(main())
        assert engine.model.most_rows == 5

    def test_a_stream_is_the_text_in_pieces(self):
        async def main():
            async with make() as generator:
                return [piece async for piece in generator.stream("once", seed=3, return_full_text=True)]

        pieces = asyncio.run(main())
        assert len(pieces) > 2
        assert pieces[0] == "once"
        assert "".join(pieces) == alone("once", seed=3, return_full_text=True)[0].text

    def test_real_texts_are_those_of_each_prompt_alone(self):
        cases = [
            ({"max_new_tokens": 40, "seed": 1}, "Once upon a time"),
            ({"max_new_tokens": 30, "do_sample": False}, "The fox"),
            ({"max_new_tokens": 300, "seed": 4}, "One morning " * 30),
            ({"max_new_tokens": 20, "do_sample": False, "num_beams": 3}, "The little bird"),
            ({"max_new_tokens": 30, "seed": 9, "num_return_sequences": 2}, "In the forest"),
        ]

        async def main():
            async with AsyncTextGenerator(STORYTELLER, threads=1, max_rows=4) as generator:
                return await asyncio.gather(*(generator.complete(p, logprobs=1, **o) for o, p in cases))

        together = asyncio.run(main())
        with TextGenerator(STORYTELLER, threads=1) as generator:
            for (options, prompt), completions in zip(cases, together, strict=True):
                assert facts(completions) == facts(generator.complete(prompt, logprobs=1, **options))


class TestCancelling:
    def test_a_cancelled_task_frees_its_rows(self):
        async def main():
            async with make(max_rows=1) as generator:
                task = asyncio.create_task(generator.generate("on and on", **ENDLESS))
                await until(lambda: generator.load == (1, 0))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await generator.generate("next", seed=1) == alone("next", seed=1)[0].text
                assert generator.load == (0, 0)

        asyncio.run(main())

    def test_a_task_that_waits_can_be_cancelled(self):
        async def main():
            async with make(max_rows=1) as generator:
                first = asyncio.create_task(generator.generate("on and on", **ENDLESS))
                await until(lambda: generator.load == (1, 0))
                second = asyncio.create_task(generator.generate("waits"))
                await until(lambda: generator.load == (1, 1))
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)
                assert generator.load == (1, 0)
                first.cancel()

        asyncio.run(main())

    def test_leaving_a_stream_ends_the_work(self):
        async def main():
            async with make() as generator:
                async with aclosing(generator.stream("on and on", **ENDLESS)) as pieces:
                    async for _ in pieces:
                        break
                assert generator.load == (0, 0)

        asyncio.run(main())

    def test_a_reader_that_is_slow_holds_up_nobody(self):
        async def main():
            async with make() as generator:
                slow = generator.stream("slow", max_new_tokens=60, seed=1)
                pieces = [await anext(slow)]
                assert await generator.generate("fast", seed=1) == alone("fast", seed=1)[0].text
                await until(lambda: generator.load == (0, 0))
                return "".join(pieces + [piece async for piece in slow])

        assert asyncio.run(main()) == alone("slow", max_new_tokens=60, seed=1)[0].text


class TestOrder:
    def test_requests_join_in_the_order_in_which_they_come(self):
        done = []

        async def main():
            async with make(max_rows=1) as generator:

                async def ask(number):
                    await generator.generate("x", max_new_tokens=3, early_stopping=False)
                    done.append(number)

                for number in range(6):
                    tasks.append(asyncio.create_task(ask(number)))
                    await until(lambda: sum(generator.load) + len(done) > number)  # noqa: B023
                await asyncio.gather(*tasks)

        tasks = []
        asyncio.run(main())
        assert done == list(range(6))

    def test_more_than_may_wait_are_refused(self):
        gate = Gate()

        async def main():
            async with make(gate, max_rows=1, max_waiting=1) as generator:
                tasks = [asyncio.create_task(generator.generate("a", max_new_tokens=5))]
                await until(lambda: sum(generator.load) == 1)
                tasks.append(asyncio.create_task(generator.generate("b", max_new_tokens=5)))
                await until(lambda: sum(generator.load) == 2)
                with pytest.raises(BusyError, match="waiting already"):
                    await generator.generate("c")
                gate.open()
                await asyncio.gather(*tasks)
                await generator.generate("c", max_new_tokens=2)

        asyncio.run(main())

    def test_who_finds_room_need_not_wait(self):
        async def main():
            async with make(max_rows=4, max_waiting=0) as generator:
                await asyncio.gather(*(generator.generate("x", max_new_tokens=5) for _ in range(4)))

        asyncio.run(main())


class TestFailures:
    def test_a_prompt_that_cannot_be_used_raises_at_once_and_disturbs_nobody(self):
        async def main():
            async with make() as generator:
                with pytest.raises(ContextOverflowError):
                    await generator.generate("x" * 100)
                with pytest.raises(ConfigError, match="complete"):
                    await generator.generate("x", num_return_sequences=2)
                with pytest.raises(ConfigError, match="cannot stream"):
                    await anext(generator.stream("x", num_beams=2))
                return await generator.generate("x", seed=1)

        assert asyncio.run(main()) == alone("x", seed=1)[0].text

    def test_what_fails_unexpectedly_ends_those_who_ran_and_the_next_begins_anew(self):
        rule = random_rule()
        broken = [True]

        def breaks(ids):
            if broken[0] and len(ids) > 5:
                raise ZeroDivisionError("of somebody else")
            return rule(ids)

        async def main():
            async with make(breaks) as generator:
                with pytest.raises(DeviceError, match="ZeroDivisionError"):
                    await generator.generate("x", max_new_tokens=30, early_stopping=False)
                broken[0] = False
                return await generator.generate("x", seed=1)

        assert asyncio.run(main()) == alone("x", seed=1)[0].text

    def test_closing_ends_what_runs_with_an_error(self):
        async def main():
            generator = make()
            task = asyncio.create_task(generator.generate("on and on", **ENDLESS))
            await until(lambda: generator.load == (1, 0))
            await generator.aclose()
            await generator.aclose()
            with pytest.raises(ConfigError, match="closed before"):
                await task
            with pytest.raises(ConfigError, match="is closed"):
                await generator.generate("x")

        asyncio.run(main())

    @pytest.mark.parametrize("options", [{"max_rows": 0}, {"max_waiting": -1}], ids=str)
    def test_numbers_that_make_no_sense_are_refused(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            make(**options)


class TestEventLoops:
    def test_it_works_from_several_event_loops_at_once(self):
        generator = make()
        texts = {}

        def run(number):
            texts[number] = asyncio.run(generator.generate("from a loop", seed=number))

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(generator.aclose())
        assert texts == {n: alone("from a loop", seed=n)[0].text for n in range(4)}

    def test_an_event_loop_that_is_gone_takes_its_requests_with_it(self):
        generator = make()

        async def leave():
            answering = await generator.start("on and on", **ENDLESS)
            await until(lambda: answering._mailbox._pieces)  # which nobody will read
            return answering

        kept = asyncio.run(leave())
        assert asyncio.run(generator.generate("x", seed=1)) == alone("x", seed=1)[0].text
        asyncio.run(until(lambda: generator.load == (0, 0)))
        asyncio.run(generator.aclose())
        del kept

    def test_one_that_is_forgotten_ends_its_thread(self):
        before = threading.active_count()
        generator = make()
        asyncio.run(generator.generate("x", max_new_tokens=2))
        assert threading.active_count() > before
        del generator
        gc.collect()
        assert "llmbuilder decoding" not in {thread.name for thread in threading.enumerate()}

    def test_a_program_that_forgets_to_close_it_ends(self):
        program = (
            "import asyncio\n"
            "from llmbuilder.inference import AsyncTextGenerator\n"
            "from llmbuilder.testing import fake_engine, random_rule\n"
            "generator = AsyncTextGenerator(fake_engine(random_rule()))\n"
            "asyncio.run(generator.generate('x'))\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_forked_child_decodes_in_a_thread_of_its_own(self):
        program = (
            "import asyncio, os\n"
            "from llmbuilder.inference import AsyncTextGenerator\n"
            "from llmbuilder.testing import fake_engine, random_rule\n"
            "generator = AsyncTextGenerator(fake_engine(random_rule()))\n"
            "text = asyncio.run(generator.generate('x', seed=1))\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    assert asyncio.run(generator.generate('x', seed=1)) == text\n"
            "    raise SystemExit(7)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
            "assert asyncio.run(generator.generate('x', seed=1)) == text\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
