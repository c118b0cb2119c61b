"""Prove a bundle on this machine: its files, its tokenizer, and that a batch changes nothing, bit for bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmbuilder.arrays import FloatArray
from llmbuilder.bundle.opening import Bundle, open_bundle
from llmbuilder.bundle.reading import parse_manifest
from llmbuilder.bundle.resolve import find_bundle
from llmbuilder.checks import check_path
from llmbuilder.decoding.rows import LEAST_CHUNK
from llmbuilder.engine.cuda.starting import why_not
from llmbuilder.engine.loading import Engine, load_engine
from llmbuilder.engine.products import OUTPUTS, ROWS, products_differ
from llmbuilder.engine.session import Device

BATCHES = (2, 3, 8)
_PROMPT_LENGTHS = (1, 2, 7, 16, 33, 5, 11, 24)
_STEPS = 4
_MOST_NAMED = 10
_CHUNKED = 500
_RERUNS = 4


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, whether it holds, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of a bundle."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)


def verify_bundle(path: Path, *, device: Device = "auto", threads: int | None = None) -> VerifyReport:
    """Check a bundle's hashes, manifest, golden token ids and batch invariance on this machine.

    One for CUDA runs on its CPU where no card can be used and ``device`` is not named: the report says what that does
    not prove.

    Raises:
        ModelNotFoundError, BundleError, TokenizerError, DeviceError: the bundle cannot be opened at all.
        ConfigError: no path, device or number of threads.
    """
    path = find_bundle(check_path("path", path), None)
    bundle = open_bundle(path, rehash=True)
    files = Check(
        "files", True, f"{len(bundle.manifest.files)} files, {bundle.size:,} bytes, SHA-256 as listed"
    )
    obstacle = why_not() if bundle.manifest.device == "cuda" and device == "auto" else None
    engine = load_engine(path, device="cpu" if obstacle else device, threads=threads)
    written = check_manifest(bundle.manifest_file.read_bytes(), bundle.manifest_file)
    others = [] if not bundle.unlisted else [_other_files(bundle.unlisted)]
    unproved = [] if obstacle is None else [_no_card(obstacle)]
    products = [_check_products()] if bundle.manifest.quantization == "w8a8" else []
    computed = [*products, *_check_invariance(engine), *_check_chunks(engine), _check_reruns(engine)]
    return VerifyReport((files, written, *others, _check_golden(bundle, engine), *computed, *unproved))


def check_manifest(content: bytes, path: Path) -> Check:
    """A manifest is the one that was written, in every bit: its digest shows what it says, its text how.

    Raises:
        BundleError: it cannot be read.
    """
    manifest = parse_manifest(content, path)
    if manifest.version == 1:
        return Check("manifest", True, "version 1 has no digest: its own changes cannot be seen")
    same = content == manifest.to_json().encode()
    says = (
        "as it was written" if same else "says what it said, but its text was changed: copy the bundle again"
    )
    return Check("manifest", same, f"{says}, digest {manifest.digest[:12]}...")


def _other_files(names: Sequence[str]) -> Check:
    shown = ", ".join(ascii(name)[1:-1] for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return Check("other files", True, f"not of the bundle, and ignored: {shown}{more}")


def _check_golden(bundle: Bundle, engine: Engine) -> Check:
    """Texts have the token ids they had when the model was exported."""
    golden = bundle.manifest.tokenizer.golden
    wrong = [text for text, ids in golden if engine.tokenizer.encode(text) != list(ids)]
    detail = f"{len(golden) - len(wrong)} of {len(golden)} texts have the ids they had at export"
    return Check("tokenizer", not wrong, detail + (f"; differs: {wrong[0]!r}" if wrong else ""))


def _check_products() -> Check:
    """Products of the largest whole numbers against NumPy's."""
    different, count = products_differ(), ROWS * OUTPUTS
    detail = f"{count - different} of {count} sums of the largest 8-bit products are NumPy's exact ones"
    return Check("whole numbers", different == 0, detail)


def _check_invariance(engine: Engine) -> Iterator[Check]:
    """Ragged batches against each prompt alone: logits equal in every bit."""
    prompts = _prompts(engine)
    alone = [_decode(engine, [prompt]) for prompt in prompts]
    for rows in BATCHES:
        together = _decode(engine, prompts[:rows])
        different = sum(not np.array_equal(together[:, row], alone[row][:, 0]) for row in range(rows))
        detail = f"{rows - different} of {rows} rows equal the row alone in every bit of {_STEPS + 1} steps"
        yield Check(f"batch of {rows}", different == 0, detail)


def _check_chunks(engine: Engine) -> Iterator[Check]:
    """A prompt computed in parts, as after a kept beginning, against the whole: logits equal in every bit."""
    decoder = engine.model.decoder()
    length = min(_CHUNKED + decoder.border, engine.context_length)
    wanted = (length // 2, length // 3, length - LEAST_CHUNK) if decoder.border == 1 else (decoder.border,)
    cuts = sorted({cut for cut in wanted if LEAST_CHUNK <= cut < length})
    if not cuts:
        return
    ids = np.random.default_rng(1).integers(engine.usable_vocab, size=length).tolist()
    whole = decoder.prefill(0, ids)
    different = 0
    for cut in cuts:
        decoder = engine.model.decoder(capacity=length)
        decoder.prefill(0, ids[:cut])
        different += not np.array_equal(decoder.prefill(0, ids[cut:]), whole)
    detail = f"{len(cuts) - different} of {len(cuts)} ways to cut {length} tokens give the bits of the whole"
    yield Check("prompt in parts", different == 0, detail)


def _check_reruns(engine: Engine) -> Check:
    """The same computation again: logits equal in every bit."""
    prompts = _prompts(engine)[:1]
    first = _decode(engine, prompts)
    different = sum(not np.array_equal(_decode(engine, prompts), first) for _ in range(_RERUNS))
    return Check(
        "reruns", different == 0, f"{_RERUNS - different} of {_RERUNS} runs have the bits of the first"
    )


def _no_card(obstacle: str) -> Check:
    return Check(
        "card",
        True,
        f"not proved for one: the float16 graph ran on this machine's CPU. {obstacle}",
    )


def _prompts(engine: Engine) -> list[list[int]]:
    generator = np.random.default_rng(0)
    longest = max(1, engine.context_length - _STEPS)
    lengths = [min(length, longest) for length in _PROMPT_LENGTHS]
    return [generator.integers(engine.usable_vocab, size=length).tolist() for length in lengths]


def _decode(engine: Engine, prompts: list[list[int]]) -> FloatArray:
    """Logits [1 + steps, rows, V] of greedy decoding."""
    decoder = engine.model.decoder(rows=len(prompts), capacity=max(map(len, prompts)) + _STEPS)
    logits = np.stack([decoder.prefill(row, ids)[-1] for row, ids in enumerate(prompts)])
    history = [logits]
    steps = min(_STEPS, engine.context_length - max(map(len, prompts)))
    for _ in range(steps):
        logits = np.array(decoder.step(logits[:, : engine.usable_vocab].argmax(-1).tolist()))
        history.append(logits)
    return np.stack(history)
