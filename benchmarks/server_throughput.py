"""Tokens a second of `llmb serve`, llama.cpp's server and `transformers serve`: 1, 4, 16 and 64 clients, two threads.

    python benchmarks/server_throughput.py [--bundle DIR] [--llamacpp PROGRAM --gguf FILE] [--transformers PROGRAM]

Every client streams one greedy text of 64 tokens after the other, from prompts of about a hundred tokens that no other
request begins with. Each server runs alone, with room for as many rows as there are clients; the servers take turns.
Without a peer's program that peer is left out. It takes servers x counts x rounds x (ramp + seconds + start), which it
says first: with all three and nothing else said, about 20 minutes.

Writes benchmarks/results/server_throughput.json, .md and .svg.
"""

import argparse
import asyncio
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import RESULTS, ROOT, report
from servers.plot import plot
from servers.processes import Server, free_port, our_server
from servers.streams import Speed, Streams
from servers.wire import Lost

TOKENS = 64
WINDOW = 512
"""Tokens for each client that llama.cpp's server has room for."""
_START_SECONDS = 10
_FIRST_SECONDS = 300
"""Longest time that the first answer of a server may take."""
_BLOCK = 32


class Contestant(NamedTuple):
    """A server: how to start one for so many clients, and what to ask it beside the prompt."""

    name: str
    weights: str
    start: Callable[[int, Path], Server]
    asking: dict[str, Any]


def main() -> None:
    """Measure every server with every number of clients."""
    options = _options()
    contestants = _contestants(options)
    each = options.ramp + options.seconds + _START_SECONDS
    minutes = len(contestants) * len(options.clients) * options.rounds * each / 60
    print(f"{', '.join(c.name for c in contestants)}: about {minutes:.0f} minutes", flush=True)
    rows: list[dict[str, Any]] = []
    for clients in options.clients:
        rows += _measure(contestants, clients, options)
        report("server_throughput", rows, options.results)
    table = markdown(rows)
    (options.results / "server_throughput.md").write_text(table, encoding="utf-8")
    (options.results / "server_throughput.svg").write_text(plot(rows), encoding="utf-8")
    print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Throughput of servers.")
    parser.add_argument("--bundle", type=Path, default=ROOT / "artifacts" / "smollm2-int8")
    parser.add_argument("--llamacpp", type=Path, metavar="PROGRAM", help="llama-server")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="the same weights in Q8_0")
    parser.add_argument("--transformers", type=Path, metavar="PROGRAM", help="transformers, of 5.23 or later")
    parser.add_argument(
        "--source", type=Path, default=ROOT / "artifacts" / "smollm2", help="the model for it"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=30, help="that count")
    parser.add_argument("--ramp", type=float, default=10, help="seconds before them")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server; the median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    if not options.bundle.is_dir():
        parser.error(f"there is no bundle {options.bundle}: `make smollm2` makes it")
    if (options.llamacpp is None) != (options.gguf is None):
        parser.error("--llamacpp and --gguf belong together")
    return options


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    asking = {"max_tokens": TOKENS, "temperature": 0, "stream": True}
    found = [
        Contestant(
            "llmb serve",
            options.bundle.name,
            lambda clients, log: our_server(
                options.bundle, log, f"--max-rows={clients}", threads=options.threads
            ),
            asking | {"early_stopping": False},
        )
    ]
    if options.llamacpp is not None:
        found.append(
            Contestant("llama.cpp", options.gguf.name, _llamacpp(options), asking | {"ignore_eos": True})
        )
    if options.transformers is not None:
        found.append(Contestant("transformers serve", "float32", _transformers(options), _forced(asking)))
    return found


def _forced(asking: dict[str, Any]) -> dict[str, Any]:
    """As transformers wants it said that a text shall not end before."""
    return asking | {"generation_config": f'{{"min_new_tokens": {TOKENS}, "do_sample": false}}'}


def _llamacpp(options: argparse.Namespace) -> Callable[[int, Path], Server]:
    def start(clients: int, log: Path) -> Server:
        port, threads = free_port(), str(options.threads)
        command = [str(options.llamacpp), "-m", str(options.gguf), "--port", str(port), "--no-webui"]
        room = ["-np", str(clients), "-c", str(clients * WINDOW), "-t", threads, "-tb", threads]
        return Server([*command, *room], port, log)

    return start


def _transformers(options: argparse.Namespace) -> Callable[[int, Path], Server]:
    def start(clients: int, log: Path) -> Server:
        port = free_port()
        command = [str(options.transformers), "serve", str(options.source.resolve()), "--port", str(port)]
        how = ["--device", "cpu", "--dtype", "float32", "--continuous-batching"]
        # Left alone it takes most of the machine's memory for its cache.
        how += [f"--cb-block-size={_BLOCK}", f"--cb-num-blocks={(clients + 1) * WINDOW // _BLOCK}"]
        how += [f"--cb-max-batch-tokens={WINDOW}"]
        return Server(
            [*command, *how], port, log, {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
        )

    return start


def _measure(
    contestants: Sequence[Contestant], clients: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    speeds: dict[str, list[Speed]] = {contestant.name: [] for contestant in contestants}
    for _ in range(options.rounds):
        for contestant in contestants:
            speed = speed_or_failure(contestant, clients, options)
            print(f"{contestant.name}, {clients} clients: {speed.tokens_per_second:.1f} tokens/s", flush=True)
            speeds[contestant.name].append(speed)
    rows: list[dict[str, Any]] = [
        {"server": c.name, "weights": c.weights, "clients": clients} | _medians(speeds[c.name])
        for c in contestants
    ]
    best = max((row["tokens/s"] for row in rows[1:] if row["tokens/s"] > 0), default=None)
    for row in rows:
        row["times the best peer"] = row["tokens/s"] / best if best and row is rows[0] else None
    return rows


def speed_or_failure(contestant: Contestant, clients: int, options: argparse.Namespace) -> Speed:
    """The speed, or numbers that are none if the server fails: the others are measured all the same."""
    try:
        return asyncio.run(_speed(contestant, clients, options))
    except (Lost, RuntimeError, OSError, TimeoutError) as error:
        print(f"{contestant.name}, {clients} clients: {type(error).__name__}: {error}", flush=True)
        return Speed(math.nan, math.nan, math.nan, math.nan, 0)


async def _speed(contestant: Contestant, clients: int, options: argparse.Namespace) -> Speed:
    with tempfile.TemporaryDirectory() as folder, contestant.start(clients, Path(folder) / "log") as server:
        await server.wait()
        streams = Streams(server.address, "/v1/completions", contestant.asking)
        async with asyncio.timeout(_FIRST_SECONDS):
            await streams.once()
        return await streams.measure(clients, options.ramp, options.seconds)


def _medians(speeds: Sequence[Speed]) -> dict[str, Any]:
    return {
        "tokens/s": statistics.median(speed.tokens_per_second for speed in speeds),
        "first token, s": statistics.median(speed.first_token for speed in speeds),
        "p90, s": statistics.median(speed.first_token_p90 for speed in speeds),
        "between tokens, ms": 1000 * statistics.median(speed.between for speed in speeds),
        "requests": sum(speed.requests for speed in speeds),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of a README: a line for each server, a column for each number of clients."""
    counts = list(dict.fromkeys(row["clients"] for row in rows))
    found = {(row["server"], row["clients"]): row for row in rows}
    lines = [
        f"| tokens a second | {' | '.join(map(str, counts))} | first token, {counts[0]} | {min(16, counts[-1])} |",
        f"|---|{'--:|' * (len(counts) + 2)}",
    ]
    for name in dict.fromkeys(row["server"] for row in rows):
        speeds = [f"{found[name, count]['tokens/s']:.0f}" for count in counts]
        firsts = [f"{found[name, n]['first token, s']:.2f} s" for n in (counts[0], min(16, counts[-1]))]
        weights = found[name, counts[0]]["weights"]
        lines.append(f"| {name}, {weights} | {' | '.join([*speeds, *firsts])} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
