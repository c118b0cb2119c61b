"""The manifest: the only contract between export and runtime.

``manifest.json`` lies in the bundle directory beside the graph. The exporter writes it from these dataclasses and
the runtime reads it back into them; neither side knows anything else of the other.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from llmbuilder.errors import BundleError

FORMAT = "llmbuilder-bundle"
VERSION = 1
MANIFEST_NAME = "manifest.json"
GRAPH_NAME = "model.onnx"
WEIGHTS_NAME = "model.onnx.data"
CHAT_TEMPLATE_NAME = "chat_template.jinja"

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
POSITION_IDS = "position_ids"
LOGITS_TO_KEEP = "num_logits_to_keep"
LOGITS = "logits"
PAST = "past_key_values.{layer}.{kind}"
PRESENT = "present.{layer}.{kind}"

Quantization = Literal["none", "int8", "int4"]
T = TypeVar("T")

_CHOICES = {
    "quantization": ("none", "int8", "int4"),
    "kv_cache": ("float32", "int8"),
    "device": ("cpu", "cuda"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of one file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The shape of the network. ``context_length`` is the window in tokens."""

    architecture: str
    vocab_size: int
    context_length: int
    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    parameters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFacts:
    """The tokenizer's file and special ids. ``golden`` pairs a text with the ids it had at export."""

    kind: Literal["sentencepiece", "tokenizers"]
    file: str
    vocab_size: int
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
    golden: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    """What was exported. ``sha256`` is that of the checkpoint file, ``None`` for a directory."""

    kind: str
    name: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything a runtime must know of a bundle, and the hashes to trust it."""

    model: ModelFacts
    tokenizer: TokenizerFacts
    source: SourceFacts
    files: Mapping[str, FileEntry]
    quantization: Quantization = "none"
    kv_cache: Literal["float32", "int8"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    generation: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    created_by: str = ""
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> str:
        """Serialize, stable and readable."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and check ``manifest.json`` at ``path``.

    Raises:
        BundleError: the file is no manifest, lacks fields, or was written by a newer version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} cannot be read as a manifest ({error}). Export the model again."
        ) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise BundleError(f"{path} is not the manifest of a {FORMAT}. Export the model with `llmb export`.")
    version: Any = raw.get("version")
    if not _is_count(version, 1) or version > VERSION:
        raise BundleError(
            f"{path} has manifest version {version!r}, but this release reads versions up to {VERSION}. "
            "Upgrade llmbuilder-runtime, or export the model again with this release."
        )
    try:
        return _build(raw)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is malformed: {error}. Export the model again.") from error


def _build(raw: dict[str, Any]) -> Manifest:
    raw = dict(raw)
    tokenizer = dict(raw["tokenizer"])
    tokenizer["eos_token_ids"] = tuple(tokenizer["eos_token_ids"])
    tokenizer["golden"] = tuple((str(text), tuple(ids)) for text, ids in tokenizer.get("golden", ()))
    raw["tokenizer"] = _strict(TokenizerFacts, tokenizer)
    raw["model"] = _strict(ModelFacts, raw["model"])
    raw["source"] = _strict(SourceFacts, raw["source"])
    raw["files"] = {str(name): _strict(FileEntry, entry) for name, entry in raw["files"].items()}
    manifest = _strict(Manifest, raw)
    _check(manifest)
    return manifest


def _strict(kind: type[T], raw: Mapping[str, Any]) -> T:
    """Build a dataclass, refusing fields it does not have."""
    unknown = set(raw) - {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)} in {kind.__name__}")
    return kind(**raw)


def _check(manifest: Manifest) -> None:
    """Refuse values that later code would trust blindly."""
    for name in (f.name for f in fields(ModelFacts) if f.name != "architecture"):
        if not _is_count(getattr(manifest.model, name), 1):
            raise ValueError(
                f"model.{name} must be a positive whole number, not {getattr(manifest.model, name)!r}"
            )
    for name, choices in _CHOICES.items():
        if getattr(manifest, name) not in choices:
            raise ValueError(f"{name} must be one of {choices}, not {getattr(manifest, name)!r}")
    for name in ("generation", "verification"):
        if not isinstance(getattr(manifest, name), dict):
            raise TypeError(f"{name} must be an object, not {getattr(manifest, name)!r}")
    _check_files(manifest)
    _check_tokenizer(manifest.tokenizer, manifest.model.vocab_size)


def _check_files(manifest: Manifest) -> None:
    """The files that make a bundle are listed, under names that stay in its directory."""
    for name in (GRAPH_NAME, manifest.tokenizer.file):
        if name not in manifest.files:
            raise ValueError(f"{name} is not among the listed files")
    for name, entry in manifest.files.items():
        if name in ("", ".", "..", MANIFEST_NAME) or "/" in name or "\\" in name or "\0" in name:
            raise ValueError(f"file name {name!r} is not a plain name")
        if not _is_count(entry.size, 0):
            raise ValueError(f"size of {name!r} is malformed")


def _check_tokenizer(facts: TokenizerFacts, model_vocab: int) -> None:
    if facts.kind not in ("sentencepiece", "tokenizers"):
        raise ValueError(f"unknown tokenizer kind {facts.kind!r}")
    optional = (token for token in (facts.bos_token_id, facts.pad_token_id) if token is not None)
    for token in (*optional, *facts.eos_token_ids):
        if not _is_count(token, 0) or token >= model_vocab:
            raise ValueError(f"special token id {token!r} is outside the vocabulary of {model_vocab}")


def _is_count(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low
