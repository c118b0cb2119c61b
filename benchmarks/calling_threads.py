"""Threads that call one `TextGenerator` at once: apart, or in one batch of a thread that decodes?

    python benchmarks/calling_threads.py [BUNDLE...]    writes benchmarks/results/calling_threads.json

Both ways compute the same greedy texts, which is checked. Wall and processor seconds of the first as a multiple of the
second's; the ways take turns. It takes about a minute for each bundle on two cores.
"""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import RESULTS, ROOT, Row, ratio, report

from llmbuilder.decoding.completion import Piece
from llmbuilder.decoding.running import Answer
from llmbuilder.errors import LLMBuilderError
from llmbuilder.inference import GenerationConfig, TextGenerator
from llmbuilder.scheduling.request import Limits
from llmbuilder.scheduling.thread import DecodingThread

DEMO = ROOT / "artifacts" / "storyteller" / "bundle"
CONFIG = GenerationConfig(do_sample=False, max_new_tokens=32, early_stopping=False)
COUNTS = (1, 2, 4, 8, 16)


class Waiting:
    """Waits, in a thread, for an answer from the one that decodes."""

    is_heard = True

    def __init__(self) -> None:
        """Begin to wait."""
        self._came = threading.Event()
        self._answer: Answer = []

    def tell(self, pieces: Sequence[Piece]) -> None:
        """Pieces are not looked at."""

    def end(self, answer: Answer) -> None:
        """Take the answer."""
        self._answer = answer
        self._came.set()

    def text(self) -> str:
        """The text, once it is there."""
        self._came.wait()
        if isinstance(self._answer, LLMBuilderError):
            raise self._answer
        return self._answer[0].text


def main() -> None:
    """Measure each bundle."""
    parser = argparse.ArgumentParser(description="Threads on one generator: apart, or in one batch.")
    parser.add_argument("bundles", type=Path, nargs="*", default=[DEMO])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    rows = [row for bundle in options.bundles for row in measure(bundle, options.rounds, options.threads)]
    report("calling_threads", rows, options.results)


def measure(bundle: Path, rounds: int, threads: int) -> list[Row]:
    """A row for each number of threads that call."""
    decoding = DecodingThread()
    with TextGenerator(bundle, threads=threads, config=CONFIG) as generator:
        lane = decoding.lane(generator, Limits(max_rows=max(COUNTS)))

        def together(prompt: str) -> str:
            waiting = Waiting()
            lane.submit(generator.group(prompt), waiting)
            return waiting.text()

        rows = [_row(bundle.name, count, generator.generate, together, rounds) for count in COUNTS]
        decoding.close()
    return rows


def _row(
    model: str, count: int, apart: Callable[[str], str], together: Callable[[str], str], rounds: int
) -> Row:
    measured: list[list[tuple[float, float]]] = [[], []]
    for turn in range(rounds + 1):
        texts = []
        for number, ask in enumerate((apart, together)):
            seconds, found = _timed(ask, count)
            texts.append(found)
            if turn:
                measured[number].append(seconds)
        if texts[0] != texts[1]:
            raise SystemExit(f"Texts differ: {texts}")
    (wall, processor), (wall_together, processor_together) = (zip(*each, strict=True) for each in measured)
    return {
        "model": model,
        "calling threads": count,
        "apart, s": min(wall),
        "together, s": min(wall_together),
        "together is faster by": ratio(wall, wall_together),
        "in processor seconds": ratio(processor, processor_together),
    }


def _timed(ask: Callable[[str], str], count: int) -> tuple[tuple[float, float], dict[str, str]]:
    found: dict[str, str] = {}

    def go(prompt: str) -> None:
        found[prompt] = ask(prompt)

    prompts = [f"Once upon a time, {number} foxes" for number in range(count)]
    callers = [threading.Thread(target=go, args=(prompt,)) for prompt in prompts]
    began = time.perf_counter(), time.process_time()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    ended = time.perf_counter(), time.process_time()
    return (ended[0] - began[0], ended[1] - began[1]), dict(sorted(found.items()))


if __name__ == "__main__":
    main()
