"""Many clients at `llmb serve` for minutes: no request lost, no 5xx, memory flat, every text as if it were alone.

    python benchmarks/server_load.py [--bundle DIR] [--minutes 10] [--clients 64] [--results FILE]

They ask for greedy, seeded and several texts, beams, JSON, chats and prompts of 2,000 tokens, whole and as streams;
some go in the middle, read slowly, or ask for nonsense. Ends with 0 if it found nothing wrong. It takes --minutes, and
the time to compute the texts alone: of all cases, or of as many as --checked says.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from common import RESULTS, ROOT, machine
from servers.cases import Case, make_cases
from servers.clients import Clients, Found, quantile
from servers.processes import Server, our_server
from servers.wire import asked

from llmbuilder.inference import TextGenerator

DEMO = ROOT / "artifacts" / "storyteller" / "bundle"
SAMPLES = 200
"""How often the memory is looked at."""
_SHOWN = 40


def main() -> int:
    """Load a server as the command line says."""
    options = _options()
    with (
        tempfile.TemporaryDirectory() as folder,
        TextGenerator(options.bundle, threads=options.threads) as model,
    ):
        cases = make_cases(model, options.cases)
        log = Path(folder) / "log"
        measured, found = asyncio.run(_load(options, cases, log))
        checked = sorted(Random(0).sample(sorted(found.texts), min(options.checked, len(found.texts))))
        wrong = different(model, cases, found, checked)
        measured["log_lines_of_errors"] = errors_in(log.read_text(encoding="utf-8"))
    measured |= {"checked_cases": len(checked), "different": len(wrong), "wrong": wrong[:10]}
    measured |= {"checked_answers": sum(found.texts[number].total() for number in checked)}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    complaints = complain(measured, most_growth=options.most_growth, most_gap=options.most_gap)
    print(json.dumps({name: value for name, value in measured.items() if name != "MiB"}, indent=1))
    print(*complaints or ["Nothing wrong."], sep="\n")
    return 1 if complaints else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many clients at llmb serve, for minutes.")
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "server_load.json", help="file for the results"
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--cases", type=int, default=600, help="how many different requests there are")
    parser.add_argument(
        "--checked", type=int, default=600, help="how many of them are compared with the text alone"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix-cache", type=int, default=32 << 20, help="bytes, of the server")
    parser.add_argument("--most-growth", type=float, default=0.05, help="of memory, as a share")
    parser.add_argument("--most-gap", type=float, default=3.0, help="p99 between tokens, times the median")
    options = parser.parse_args()
    if not options.bundle.is_dir():
        parser.error(f"there is no bundle {options.bundle}: `make smollm2` makes those of SmolLM2")
    return options


async def _load(
    options: argparse.Namespace, cases: Sequence[Case], log: Path
) -> tuple[dict[str, Any], Found]:
    arguments = (f"--prefix-cache={options.prefix_cache}",)
    with our_server(options.bundle, log, *arguments, threads=options.threads) as server:
        await server.wait()
        clients = Clients(server.address, cases)
        seconds = 60 * options.minutes
        memory: list[int] = []
        watching = asyncio.create_task(_watch(server, seconds / SAMPLES, memory))
        begun = time.monotonic()
        await clients.run(options.clients, seconds)
        took = time.monotonic() - begun
        watching.cancel()
        left = await _left(server)
        server.end()
    found = clients.found
    measured = {
        "machine": machine(),
        "bundle": options.bundle.name,
        "seconds": round(took),
        "clients": options.clients,
        "threads": options.threads,
        "answers": dict(found.answers.most_common()),
        "statuses": dict(sorted(found.statuses.items())),
        "lost": len(found.lost),
        "first_lost": found.lost[:10],
        "ms_between_tokens": {name: round(1000 * found.gap(share), 1) for name, share in _SHARES.items()},
        "p99_by_median": round(found.gap(0.99) / found.gap(0.5), 2),
        "s_to_first_token": {name: round(quantile(found.first, share), 2) for name, share in _SHARES.items()},
        "growth": round(growth(memory), 4),
        "MiB": [round(size / 2**20, 1) for size in memory[:: max(1, len(memory) // _SHOWN)]],
        "left_running": left,
        "exit_code": server.exit_code,
    }
    return measured, found


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


async def _watch(server: Server, pause: float, memory: list[int]) -> None:
    while True:
        memory.append(server.resident_bytes())
        await asyncio.sleep(pause)


async def _left(server: Server) -> int:
    """How many requests run or wait when all clients are gone, and have had a moment to be noticed."""
    left = -1
    for _ in range(100):
        async with asked(server.address, "/metrics") as answer:
            numbers = (await answer.text()).splitlines()
        gauges = [line.split() for line in numbers if line.startswith("llmb:num_requests")]
        left = round(sum(float(value) for _, value in gauges))
        if left == 0:
            break
        await asyncio.sleep(0.1)
    return left


def growth(memory: Sequence[int]) -> float:
    """By what share the memory of the last quarter is more than that of the second; caches are full by then."""
    quarter = len(memory) // 4
    if quarter == 0:
        return 0.0
    return mean(memory[-quarter:]) / mean(memory[quarter : 2 * quarter]) - 1


def different(model: TextGenerator, cases: Sequence[Case], found: Found, numbers: Sequence[int]) -> list[str]:
    """What was answered to these cases that is not what each gives alone."""
    wrong = []
    for number in numbers:
        alone = tuple(cases[number].alone(model))
        wrong += [
            f"case {number}, {cases[number].kind}: {texts!r} instead of {alone!r}"[:600]
            for texts in found.texts[number]
            if texts != alone
        ]
    return wrong


def errors_in(log: str) -> list[str]:
    """The first lines of a server's log that tell of a failure."""
    lines = [
        line for line in log.splitlines() if "Traceback" in line or "Error" in line or " 5" in _status(line)
    ]
    return lines[:10]


def _status(line: str) -> str:
    words = line.split()
    return f" {words[4]}" if len(words) > 4 and words[4].isdigit() else ""


def complain(measured: dict[str, Any], *, most_growth: float, most_gap: float) -> list[str]:
    """What is wrong with what was measured."""
    servers_own = [status for status in measured["statuses"] if int(status) >= 500]
    complaints = {
        "Requests were lost.": measured["lost"],
        "The server failed.": servers_own or measured["log_lines_of_errors"],
        "Texts are not what they are alone.": measured["different"] or not measured["checked_cases"],
        "Requests are left running.": measured["left_running"],
        "The server did not end well.": measured["exit_code"] != 0,
        "Memory grows.": measured["growth"] > most_growth,
        "Tokens of a stream come too unevenly.": not measured["p99_by_median"] < most_gap,
    }
    return [complaint for complaint, is_so in complaints.items() if is_so]


if __name__ == "__main__":
    sys.exit(main())
