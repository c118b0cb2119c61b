"""Measure how far a bundle's numbers are from PyTorch's, in every way the runtime computes them.

The PyTorch side is recorded before tracing (`record`), so that the network and the bundle are never in memory
together; the bundle is compared after it is written (`compare`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from llmbuilder.bundle.manifest import Manifest
from llmbuilder.engine.model import Model
from llmbuilder.errors import DeviceError, ExportError
from llmbuilder_export.judge import judge
from llmbuilder_export.networks.network import Network
from llmbuilder_export.networks.refusals import WITHOUT_CACHE, in_a_sentence
from llmbuilder_export.tracking import tracked

FloatArray = npt.NDArray[np.float32]

_LENGTHS = (48, 29, 7)
_SHORT_LENGTHS = (8,)
_GREEDY_PROMPT, _GREEDY_TOKENS = 8, 16


@dataclass(frozen=True)
class Reference:
    """What PyTorch computes: token ids, their logits [length, V], and a greedy continuation of the first prompt."""

    sequences: list[list[int]]
    logits: list[FloatArray]
    prompt: list[int]
    greedy: list[int]


def record(
    network: Network, texts: Sequence[Sequence[int]], vocab_size: int, *, short: bool = False
) -> Reference:
    """Run the network in PyTorch.

    Args:
        network: the model, with its own attention.
        texts: token ids of natural text; random ids below ``vocab_size`` fill up what is missing.
        vocab_size: number of ids the tokenizer knows.
        short: only run eight tokens, once, which tells whether the graph computes the model at all.

    Raises:
        ExportError: the model's code cannot run.
    """
    window = network.facts.context_length
    sequences = _sequences(texts, vocab_size, window, _SHORT_LENGTHS if short else _LENGTHS)
    prompt = sequences[0][:_GREEDY_PROMPT]
    longest = 0 if short else min(_GREEDY_TOKENS, window - len(prompt))
    with in_a_sentence(network.facts.architecture, WITHOUT_CACHE), torch.inference_mode():
        logits = [_logits(network, ids) for ids in tracked(sequences, "texts")]
        greedy: list[int] = []
        for _ in tracked(range(longest), "tokens"):
            greedy.append(int(_logits(network, prompt + greedy)[-1].argmax()))
    return Reference(sequences, logits, prompt, greedy)


def compare(folder: Path, manifest: Manifest, reference: Reference) -> dict[str, float | int]:
    """Run the bundle in ``folder`` on the same ids.

    Returns:
        Largest differences of logits by way of computing, KL divergence (nats), agreement of the likeliest token and
        number of greedy tokens that agree.

    Raises:
        ExportError: an unquantized bundle differs from PyTorch by more than its precision explains, a quantized one is
            nonsense, or one for cuda computes infinities.
    """
    try:
        model = Model.open(folder, manifest, device="cpu")
        ways = {
            "prefill": _prefill(model, reference),
            "steps": _steps(model, reference),
            "ragged_batch": _ragged_batch(model, reference),
        }
        greedy = _greedy(model, reference)
    except DeviceError as error:
        raise ExportError(
            f"{manifest.model.architecture} cannot be exported: ONNX Runtime cannot run its graph ({error}). "
            "Export a model of another family, and report this one."
        ) from error
    measured: dict[str, float | int] = {}
    for way, logits in ways.items():
        pairs = [(ours, theirs[-len(ours) :]) for ours, theirs in zip(logits, reference.logits, strict=True)]
        measured[f"max_logit_difference_{way}"] = float(np.max([np.abs(a - b).max() for a, b in pairs]))
    pairs = list(zip(ways["prefill"], reference.logits, strict=True))
    measured["mean_kl_divergence"] = float(np.mean(np.concatenate([_divergence(b, a) for a, b in pairs])))
    agree = np.concatenate([a.argmax(-1) == b.argmax(-1) for a, b in pairs])
    measured["argmax_agreement"] = float(agree.mean())
    measured["greedy_tokens_equal"] = _common_prefix(greedy, reference.greedy)
    measured["greedy_tokens"] = len(reference.greedy)
    judge(measured, max(float(np.abs(logits).max()) for logits in reference.logits), manifest)
    return measured


def _sequences(
    texts: Sequence[Sequence[int]], vocab_size: int, window: int, lengths: Sequence[int]
) -> list[list[int]]:
    """Sequences of these lengths, none longer than the window."""
    random = np.random.default_rng(0)
    sequences = []
    for index, length in enumerate(min(length, window) for length in lengths):
        text = list(texts[index])[:length] if index < len(texts) else []
        sequences.append(text + random.integers(0, vocab_size, length - len(text)).tolist())
    return sequences


def _logits(network: Network, ids: Sequence[int]) -> FloatArray:
    logits: FloatArray = network.reference(torch.tensor([ids]))[0].float().numpy()
    return logits


def _prefill(model: Model, reference: Reference) -> list[FloatArray]:
    """Whole sequences at once."""
    return [model.decoder().prefill(0, ids, keep=len(ids)) for ids in tracked(reference.sequences, "texts")]


def _steps(model: Model, reference: Reference) -> list[FloatArray]:
    """Half of each sequence at once, then token by token."""
    results = []
    for ids in tracked(reference.sequences, "texts, step by step"):
        decoder = model.decoder(capacity=1)
        start = max(1, len(ids) // 2)
        rows = [decoder.prefill(0, ids[:start])]
        rows += [np.array(decoder.step([token])) for token in ids[start:]]
        results.append(np.concatenate(rows))
    return results


def _ragged_batch(model: Model, reference: Reference) -> list[FloatArray]:
    """All sequences together, each from its own length, as many steps as the shortest allows."""
    decoder = model.decoder(rows=len(reference.sequences))
    count = min(len(ids) for ids in reference.sequences) - 1
    starts = [len(ids) - count for ids in reference.sequences]
    rows = [[decoder.prefill(r, ids[: starts[r]])[0]] for r, ids in enumerate(reference.sequences)]
    for step in tracked(range(count), "steps of a batch"):
        logits = np.array(decoder.step([ids[starts[r] + step] for r, ids in enumerate(reference.sequences)]))
        for row, kept in enumerate(rows):
            kept.append(logits[row])
    return [np.stack(kept) for kept in rows]


def _greedy(model: Model, reference: Reference) -> list[int]:
    decoder = model.decoder()
    logits = decoder.prefill(0, reference.prompt)
    tokens: list[int] = []
    for _ in tracked(reference.greedy, "tokens"):
        tokens.append(int(logits[0].argmax()))
        logits = np.array(decoder.step(tokens[-1:]))
    return tokens


def _divergence(p_logits: FloatArray, q_logits: FloatArray) -> npt.NDArray[np.float64]:
    """KL(p || q) in nats for each row of [rows, V]."""
    p, q = _log_softmax(p_logits), _log_softmax(q_logits)
    result: npt.NDArray[np.float64] = (np.exp(p) * (p - q)).sum(-1)
    return result


def _log_softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
