"""The demo on the card beside the same model in float32 on the CPU."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cudacheck.report import Section
from cudacheck.setup import Setup, common_prefix, fetched, samples
from cudacheck.shells import Array
from llmbuilder.decoding.logits import log_softmax
from llmbuilder.engine.loading import Engine
from llmbuilder.generator import TextGenerator

LARGEST_DIVERGENCE = 1e-5
"""Nats of mean KL divergence that float16 may cost."""


def run(setup: Setup, section: Section) -> None:
    """Logits of known texts in every way of computing, then greedy texts."""
    ours, reference = setup.engine("demo"), setup.engine("demo-cpu", device="cpu")
    texts = [_ids(ours, sample) for sample in samples(setup.pick(12, 2))]
    expected = [_prefilled(reference, ids) for ids in texts]
    for name, compute in {"prompts": _prefilled, "steps": _stepped}.items():
        with section.attempt(f"logits by {name}"):
            measured = compare(zip(expected, (compute(ours, ids) for ids in texts), strict=True))
            passed = measured["mean_kl"] <= LARGEST_DIVERGENCE
            section.check(f"logits by {name}", passed, at_most=LARGEST_DIVERGENCE, **measured)
    with section.attempt("logits in a batch"):
        rows = _batched(ours, texts)
        passed = all(np.isfinite(row).all() for row in rows)
        measured = compare(
            zip((e[-len(r) :] for e, r in zip(expected, rows, strict=True)), rows, strict=True)
        )
        passed = passed and measured["mean_kl"] <= LARGEST_DIVERGENCE
        section.check("logits in a batch", passed, at_most=LARGEST_DIVERGENCE, **measured)
    with section.attempt("greedy texts"):
        _greedy(setup, section, TextGenerator(ours), TextGenerator(reference))


def compare(pairs: Iterable[tuple[Array, Array]]) -> dict[str, Any]:
    """Divergence (nats), agreement and largest difference of pairs of logits [n, V], the right ones first."""
    divergence, agree, largest = [], [], 0.0
    for right, found in pairs:
        p, q = (log_softmax(logits.astype(np.float64)) for logits in (right, found))
        divergence.append((np.exp(p) * (p - q)).sum(-1))
        agree.append(right.argmax(-1) == found.argmax(-1))
        largest = max(largest, float(np.abs(right - found).max()))
    everything = np.concatenate(divergence)
    return {
        "positions": len(everything),
        "mean_kl": float(everything.mean()),
        "largest_kl": float(everything.max()),
        "argmax_agreement": float(np.concatenate(agree).mean()),
        "largest_logit_difference": largest,
    }


def _ids(engine: Engine, sample: dict[str, str]) -> list[int]:
    return engine.tokenizer.encode(sample["prompt"] + sample["text"])[: engine.context_length]


def _prefilled(engine: Engine, ids: list[int]) -> Array:
    decoder = engine.model.decoder(rows=1, capacity=len(ids))
    return fetched(decoder.prefill(0, ids, keep=len(ids)))


def _stepped(engine: Engine, ids: list[int]) -> Array:
    decoder = engine.model.decoder(rows=1, capacity=len(ids))
    rows = [fetched(decoder.prefill(0, ids[:1])[0])]
    rows += [fetched(decoder.step([token])[0]) for token in ids[1:]]
    return np.stack(rows)


def _batched(engine: Engine, texts: list[list[int]]) -> list[Array]:
    """The last logits of each text, all stepped together as long as the shortest allows."""
    count = min(map(len, texts)) - 1
    decoder = engine.model.decoder(rows=len(texts), capacity=max(map(len, texts)))
    starts = [len(ids) - count for ids in texts]
    rows = [[fetched(decoder.prefill(row, ids[: starts[row]])[0])] for row, ids in enumerate(texts)]
    for step in range(count):
        logits = decoder.step([ids[start + step] for ids, start in zip(texts, starts, strict=True)])
        for row, kept in enumerate(rows):
            kept.append(fetched(logits[row]))
    return [np.stack(kept) for kept in rows]


def _greedy(setup: Setup, section: Section, ours: TextGenerator, reference: TextGenerator) -> None:
    tokens = setup.pick(100, 12)
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": tokens, "early_stopping": False}
    prefixes = []
    for sample in samples(8):
        (a,), (b,) = (generator.complete(sample["prompt"], **options) for generator in (ours, reference))
        prefixes.append(common_prefix(a.token_ids, b.token_ids))
    same = sum(prefix == tokens for prefix in prefixes)
    section.measure("greedy texts as on the CPU", texts=len(prefixes), equal=same, common_tokens=prefixes)
