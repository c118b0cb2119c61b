"""The manifest: the only contract between export and runtime.

``manifest.json`` lies in the bundle directory beside the graph. The exporter writes it from these dataclasses and
`llmbuilder.bundle.reading` reads it back into them; neither side knows anything else of the other.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT = "llmbuilder-bundle"
VERSION = 2
MANIFEST_NAME = "manifest.json"
GRAPH_NAME = "model.onnx"
WEIGHTS_NAME = "model.onnx.data"
CHAT_TEMPLATE_NAME = "chat_template.jinja"

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
POSITION_IDS = "position_ids"
LOGITS_START = "logits_start"
"""Input int64[1], default -1: the first position whose logits are computed, from the end if negative."""
LOGITS_TO_KEEP = "num_logits_to_keep"
"""What graphs of version 1 have instead, an int64 scalar with the default 1: how many last positions."""
LOGITS = "logits"
PAST = "past_key_values.{layer}.{kind}"
PRESENT = "present.{layer}.{kind}"

Quantization = Literal["none", "int8", "int4", "w8a8"]
CacheType = Literal["float32", "float16", "int8"]
Target = Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of one file of the bundle.

    An ``optional`` one, such as a license, is opened by nothing and may be missing.
    """

    size: int
    sha256: str
    optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCache:
    """What one layer keeps of each token: ``heads`` keys and values of these sizes, padding included.

    ``window`` counts the last tokens that the layer sees, the current one included; None: all of them.
    """

    heads: int
    key_size: int
    value_size: int
    window: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The shape of the network. ``context_length`` is the window in tokens, ``layers`` the cache of each layer."""

    architecture: str
    vocab_size: int
    context_length: int
    hidden_size: int
    num_attention_heads: int
    parameters: int
    layers: tuple[LayerCache, ...]

    @property
    def num_layers(self) -> int:
        """Number of layers that attend."""
        return len(self.layers)

    @property
    def fewest_heads(self) -> int:
        """Query heads of a layer; where layers differ, the keys' heads of the smallest, which has at least as many."""
        shared = {layer.heads for layer in self.layers}
        return self.num_attention_heads if len(shared) == 1 else min(shared)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFacts:
    """The tokenizer's file and special ids. ``golden`` pairs a text with the ids it had at export.

    ``prefix_ids`` and ``suffix_ids`` are what the file puts around every text, such as BOS; None: not known
    (version 1).
    """

    kind: Literal["sentencepiece", "tokenizers"]
    file: str
    vocab_size: int
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
    prefix_ids: tuple[int, ...] | None = None
    suffix_ids: tuple[int, ...] | None = None
    golden: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatFacts:
    """What the chat template was seen to do at export."""

    system_role: bool
    """Whether it takes a system message apart from the first user's."""
    end_token_ids: tuple[int, ...]
    """Tokens with which it ends the assistant's turn."""
    tool_calls: str | None = None
    """Name of the form in which the model calls tools, such as ``hermes``; None: in none that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    """What was exported. ``sha256`` is that of the checkpoint file, ``None`` for a directory."""

    kind: str
    name: str
    sha256: str | None
    adapter: str | None = None
    """Name of the adapter that was merged into it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything a runtime must know of a bundle, and the hashes to trust it.

    ``version`` is that of the file it was read from; what is written has the newest.
    """

    format: str = FORMAT
    version: int = VERSION
    created_by: str = ""
    source: SourceFacts
    model: ModelFacts
    quantization: Quantization = "none"
    kv_cache: CacheType = "float32"
    device: Target = "cpu"
    tokenizer: TokenizerFacts
    chat: ChatFacts | None = None
    """None: there is no chat template, or nothing is known of it (version 1)."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileEntry]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all that the manifest says, and so of all that the bundle holds."""
        return digest(self._raw())

    def to_json(self) -> str:
        """Serialize in the newest version, stable and readable."""
        raw = self._raw()
        return json.dumps({"digest": digest(raw), **raw}, indent=2, ensure_ascii=False) + "\n"

    def _raw(self) -> dict[str, Any]:
        return asdict(self) | {"version": VERSION}


def digest(raw: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a manifest as JSON without its ``digest``: ASCII, keys sorted, no white space.

    Raises:
        ValueError: it holds what JSON cannot say, such as NaN.
    """
    rest = {key: value for key, value in raw.items() if key != "digest"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
