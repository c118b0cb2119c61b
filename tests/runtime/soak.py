"""Many threads on one generator for a long time: every text as if it were alone, memory flat, no lease left over.

    python tests/runtime/soak.py --results=FILE [--minutes 50] [--threads 24] [--requests 160]

Ends with 0 if it found nothing wrong.
"""

import argparse
import ctypes
import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean

from llmbuilder.engine import loading
from llmbuilder.errors import LLMBuilderError
from llmbuilder.inference import Completion, ConstrainedGenerator, TextGenerator

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
CPU_THREADS = 2
ROUNDS = 10
"""Pauses in which nobody asks anything: what is held then is held for good."""
WARM = 3
"""Rounds after which memory is compared: caches are full by then."""
MOST_GROWTH = 0.05
ARENAS = "MALLOC_ARENA_MAX"

Request = Callable[[TextGenerator], object]
"""What a user asks for; it returns what can be compared."""


def make_requests(count: int) -> list[Request]:
    """Requests of all kinds, the same each time."""
    numbers = random.Random(1)
    return [_KINDS[number % len(_KINDS)](numbers) for number in range(count)]


def _prompt(numbers: random.Random) -> str:
    who = numbers.choice(("a fox", "a girl named Łucja", "two cats", "the old king", "🦊"))
    return " ".join(["Once upon a time there was", who, *["and then"] * numbers.randrange(0, 30)])


def _untimed(completions: Sequence[Completion]) -> list[Completion]:
    return [replace(each, seconds_to_first_token=0, tokens_per_second=0) for each in completions]


def _text(numbers: random.Random) -> Request:
    prompt, seed, tokens = _prompt(numbers), numbers.randrange(99), numbers.randint(1, 60)
    temperature = numbers.choice((0.3, 0.8, 1.5))
    return lambda g: g.generate(prompt, max_new_tokens=tokens, seed=seed, temperature=temperature)


def _greedy(numbers: random.Random) -> Request:
    prompt, stop = _prompt(numbers), numbers.choice((".", "the", " a"))
    return lambda g: g.generate(prompt, do_sample=False, max_new_tokens=80, stop_strings=[stop])


def _batch(numbers: random.Random) -> Request:
    prompts, seed = [_prompt(numbers) for _ in range(3)], numbers.randrange(99)
    return lambda g: g.generate_batch(prompts, max_new_tokens=25, seed=seed, repetition_penalty=1.2)


def _pieces(numbers: random.Random) -> Request:
    prompt, seed = _prompt(numbers), numbers.randrange(99)
    return lambda g: "".join(g.stream(prompt, max_new_tokens=40, seed=seed, top_k=20))


def _left(numbers: random.Random) -> Request:
    """A stream that its reader leaves."""
    prompt, seed, read = _prompt(numbers), numbers.randrange(99), numbers.randint(1, 6)

    def leave(generator: TextGenerator) -> object:
        stream = iter(generator.stream(prompt, max_new_tokens=60, seed=seed))
        return [piece for piece, _ in zip(stream, range(read), strict=False)]

    return leave


def _beams(numbers: random.Random) -> Request:
    prompt = _prompt(numbers)
    options = {"num_beams": 4, "num_return_sequences": 2, "do_sample": False, "max_new_tokens": 20}
    return lambda g: _untimed(g.complete(prompt, **options))


def _samples(numbers: random.Random) -> Request:
    prompt, seed = _prompt(numbers), numbers.randrange(99)
    return lambda g: _untimed(
        g.complete(prompt, num_return_sequences=5, seed=seed, max_new_tokens=15, logprobs=2)
    )


def _score(numbers: random.Random) -> Request:
    prompt = _prompt(numbers)
    return lambda g: repr(g.score(prompt))


def _constrained(numbers: random.Random) -> Request:
    prompt, seed = _prompt(numbers), numbers.randrange(99)
    words = {"required_words": ["fox"], "forbidden_words": ["dog"]}
    return lambda g: ConstrainedGenerator(g, **words).generate(prompt, max_new_tokens=30, seed=seed)


def _refused(numbers: random.Random) -> Request:
    """A prompt that is too long."""
    prompt = "fox " * 3000

    def ask(generator: TextGenerator) -> object:
        try:
            return generator.generate(prompt, max_new_tokens=5)
        except LLMBuilderError as error:
            return str(error)

    return ask


def _opened(numbers: random.Random) -> Request:
    """A generator of one's own, which shares the model."""
    prompt, seed = _prompt(numbers), numbers.randrange(99)

    def ask(_: TextGenerator) -> object:
        with TextGenerator(DEMO, threads=CPU_THREADS) as own:
            return own.generate(prompt, max_new_tokens=10, seed=seed)

    return ask


_KINDS: Sequence[Callable[[random.Random], Request]] = (
    _text, _greedy, _batch, _pieces, _left, _beams, _samples, _score, _constrained, _refused, _opened,
)  # fmt: skip


class Soak:
    """Threads that ask one generator for what it gave before, alone."""

    def __init__(self, generator: TextGenerator, requests: Sequence[Request]) -> None:
        """Ask for everything once."""
        self._generator, self._requests = generator, requests
        self._alone = [request(generator) for request in requests]
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.at_work: list[int] = []
        self.at_rest: list[int] = []

    def run(self, threads: int, seconds: float) -> None:
        """Ask in so many threads for so long, and look at the memory before they end and afterwards."""
        until = time.monotonic() + seconds
        workers = [threading.Thread(target=self._ask, args=(number, until)) for number in range(threads)]
        for worker in workers:
            worker.start()
        time.sleep(max(0, until - time.monotonic()))
        self.at_work.append(resident_bytes())
        for worker in workers:
            worker.join()
        gc.collect()
        give_back_free_memory()
        self.at_rest.append(resident_bytes())

    def _ask(self, thread: int, until: float) -> None:
        numbers = random.Random(thread)
        while True:
            which = numbers.randrange(len(self._requests))
            try:
                answer = self._requests[which](self._generator)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is wrong)
                answer = f"{type(error).__name__}: {error}"
            self.answers[thread] += 1
            if answer != self._alone[which]:
                self.wrong.append(f"request {which}: {answer!r} instead of {self._alone[which]!r}"[:500])
            if time.monotonic() >= until:  # only now: on a busy machine a thread may begin when time is over
                return

    def growth(self) -> float:
        """By what share the memory at rest grew since the first rounds."""
        warm = self.at_rest[WARM - 1 :]
        return mean(warm[-2:]) / mean(warm[:2]) - 1 if warm else 0.0


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_free_memory() -> None:
    """Let the allocator return what nobody uses, where it can be told to."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def use_one_arena() -> None:
    """Begin again with one arena of glibc's for all threads.

    Of several each keeps what its threads freed, and which threads share one is chance: in four minutes memory at rest
    grew by 3 %, and what was allocated by 0.1 % (mallinfo2).
    """
    if os.environ.get(ARENAS) != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {ARENAS: "1"})  # noqa: S606 (ourselves)


def leases() -> int:
    """How many users the loaded models have, as far as this process knows."""
    return sum(len(entry.users) for entry in loading._LOADED._entries.values())


def main() -> int:
    """Ask as long as the command line says."""
    parser = argparse.ArgumentParser(description="Many threads on one generator, for a long time.")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--threads", type=int, default=24)
    parser.add_argument("--requests", type=int, default=160, help="how many different ones there are")
    parser.add_argument("--most-growth", type=float, default=MOST_GROWTH, help="of memory, as a share")
    options = parser.parse_args()
    use_one_arena()
    with TextGenerator(DEMO, threads=CPU_THREADS) as generator:
        soak = Soak(generator, make_requests(options.requests))
        for _ in range(ROUNDS):
            soak.run(options.threads, 60 * options.minutes / ROUNDS)
        while_open = leases()
    growth, left = soak.growth(), leases()
    measured = {
        "minutes": options.minutes,
        "threads": options.threads,
        "answers": soak.answers.total(),
        "fewest_of_a_thread": min(soak.answers[thread] for thread in range(options.threads)),
        "different": len(soak.wrong),
        "wrong": soak.wrong[:10],
        "leases_while_open": while_open,
        "leases_afterwards": left,
        "threads_left": threading.active_count() - 1,
        "MiB_at_work": [round(size / 2**20, 1) for size in soak.at_work],
        "MiB_at_rest": [round(size / 2**20, 1) for size in soak.at_rest],
        "growth": round(growth, 4),
    }
    options.results.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fine = not soak.wrong and (while_open, left) == (1, 0) and growth <= options.most_growth
    return 0 if fine and measured["threads_left"] == 0 and soak.answers.total() else 1


if __name__ == "__main__":
    sys.exit(main())
