"""One task in a process of its own: `python -m peers.worker`, in a peer's environment.

A request (JSON) comes on standard input; the last line of standard output is the answer. What libraries say on standard
output goes before it.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from peers.protocol import Answer, Peer, Request, Room

ROW_TOKENS = 32
"""Tokens of each prompt where several rows are run, and before the first token of a cold start."""
PROMPT = 1500
"""Tokens after which memory is read."""


def main() -> None:
    """Do what the request says."""
    request = Request(**json.load(sys.stdin))
    peer = cast("Peer", importlib.import_module(f"peers.{request.peer}"))
    answer = TASKS[request.task](peer, request)
    print("\n" + json.dumps({**answer, "version": peer.version()}))


def start(peer: Peer, request: Request) -> Answer:
    """When the first token after given ids was there, on the clock that all processes of a machine share."""
    engine = peer.open_engine(Room(Path(request.model)))
    engine.run([request.ids[:ROW_TOKENS]], 1)
    return {"at": time.perf_counter()}


def start_text(peer: Peer, request: Request) -> Answer:
    """When the text of the first token after a given text was there."""
    engine = peer.open_engine(Room(Path(request.model), tokenizer=True))
    text = engine.first_text(request.text)
    return {"at": time.perf_counter(), "text": text}


def memory(peer: Peer, request: Request) -> Answer:
    """Bytes of the process after loading model and tokenizer, and after a prompt of one row."""
    engine = peer.open_engine(Room(Path(request.model), tokens=PROMPT + 2, tokenizer=True))
    peak = _status("VmHWM")
    engine.run([request.ids[:PROMPT]], 2)
    rollup = _kilobytes(Path("/proc/self/smaps_rollup"))
    private = rollup["Private_Clean"] + rollup["Private_Dirty"]
    return {"peak at load": peak, "rss": 1024 * rollup["Rss"], "private": 1024 * private}


def row(peer: Peer, request: Request) -> Answer:
    """Runs of one row after prompts of several lengths."""
    lengths = {int(length): repeats for length, repeats in request.lengths.items()}
    room = Room(Path(request.model), tokens=max(lengths) + request.new, tokenizer=True)
    engine = peer.open_engine(room)
    engine.run([request.ids[:ROW_TOKENS]], request.new)
    return {
        "runs": {
            str(length): [engine.run([request.ids[:length]], request.new) for _ in range(repeats)]
            for length, repeats in lengths.items()
        }
    }


def rows(peer: Peer, request: Request) -> Answer:
    """Runs of several rows, each with a prompt of its own."""
    answer = {}
    for number, repeats in request.rows.items():
        starts = [100 * index % 1000 for index in range(int(number))]
        prompts = [request.ids[begin : begin + ROW_TOKENS] for begin in starts]
        engine = peer.open_engine(
            Room(Path(request.model), tokens=ROW_TOKENS + request.new, rows=len(prompts), tokenizer=True)
        )
        engine.run(prompts, 4)
        answer[number] = [engine.run(prompts, request.new) for _ in range(repeats)]
        del engine
    return {"runs": answer}


def reference(peer: Peer, request: Request) -> Answer:
    """Write the logits of all windows."""
    import numpy as np

    engine = peer.open_engine(_for_windows(request))
    for name, windows in request.windows.items():
        for number, ids in enumerate(windows):
            np.save(Path(request.reference) / f"{name}-{number}.npy", engine.logits(ids))
    return {}


def fidelity(peer: Peer, request: Request) -> Answer:
    """Divergence from the written logits, for each text."""
    import numpy as np
    from divergence import divergence

    engine = peer.open_engine(_for_windows(request))
    answer = {}
    for name, windows in request.windows.items():
        paths = [Path(request.reference) / f"{name}-{number}.npy" for number in range(len(windows))]
        kl, same = divergence([np.load(path) for path in paths], engine.logits, windows)
        answer[name] = {"kl": kl, "same": same}
    return {"texts": answer}


TASKS: dict[str, Callable[[Peer, Request], Answer]] = {
    "start": start,
    "start_text": start_text,
    "memory": memory,
    "row": row,
    "rows": rows,
    "reference": reference,
    "fidelity": fidelity,
}


def _for_windows(request: Request) -> Room:
    longest = max(len(ids) for windows in request.windows.values() for ids in windows)
    return Room(Path(request.model), tokens=longest, logits=True)


def _status(name: str) -> int:
    return 1024 * _kilobytes(Path("/proc/self/status"))[name]


def _kilobytes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[2:] == ["kB"]}


if __name__ == "__main__":
    main()
