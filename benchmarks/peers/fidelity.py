"""Divergence of every configuration from our float32 logits, computed once for each file."""

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from divergence import Windows

from peers.environments import say
from peers.places import FIDELITY
from peers.protocol import Answer, Request
from peers.running import Contestant, WorkerError, ask


class Fidelity(NamedTuple):
    """How near a configuration is to float32, over all texts."""

    kl: float
    """Mean divergence in nats."""
    same: float
    """Share of positions with the same likeliest token, 0 to 1."""


def fidelity(
    contestant: Contestant, reference: Contestant, windows: Mapping[str, Windows]
) -> Fidelity | None:
    """Compare a configuration with the reference, or take what was found for the same files; None: it failed."""
    path = FIDELITY / f"{_digest([contestant, reference], windows)}.json"
    if not path.exists():
        say(f"divergence of {contestant.name}")
        folder = _reference(reference, windows)
        request = Request(
            contestant.peer, "fidelity", str(contestant.model), windows=windows, reference=str(folder)
        )
        try:
            answer = ask(contestant, request)
        except WorkerError as error:
            say(f"The divergence of {contestant.name} could not be computed: {error}")
            return None
        path.write_text(json.dumps({"configuration": contestant.name} | answer) + "\n", encoding="utf-8")
    return _mean(json.loads(path.read_text(encoding="utf-8")))


def _reference(contestant: Contestant, windows: Mapping[str, Windows]) -> Path:
    folder = FIDELITY / _digest([contestant], windows)
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        request = Request(
            contestant.peer, "reference", str(contestant.model), windows=windows, reference=str(folder)
        )
        ask(contestant, request)
        (folder / "done").touch()
    return folder


def _digest(contestants: Sequence[Contestant], windows: Mapping[str, Windows]) -> str:
    """Of all that a result follows from: files, the engines' environments and the tokens."""
    digest = hashlib.sha256(json.dumps(windows).encode())
    for contestant in contestants:
        digest.update(str(contestant.python).encode())
        for path in contestant.module.files(contestant.model):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _mean(answer: Answer) -> Fidelity:
    texts = answer["texts"].values()
    return Fidelity(
        statistics.fmean(text["kl"] for text in texts), statistics.fmean(text["same"] for text in texts)
    )
