"""Read a manifest that is not trusted: every field of its type and range, none unknown, in every version."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from llmbuilder.bundle.manifest import (
    FORMAT,
    GRAPH_NAME,
    MANIFEST_NAME,
    VERSION,
    CacheType,
    ChatFacts,
    FileEntry,
    LayerCache,
    Manifest,
    ModelFacts,
    Quantization,
    SourceFacts,
    Target,
    TokenizerFacts,
    digest,
)
from llmbuilder.bundle.values import (
    Read,
    choice,
    count,
    flag,
    mapping,
    optional,
    record,
    sequence,
    sha256,
    shallow,
    shown,
    text,
    wrong,
)
from llmbuilder.checks import is_whole
from llmbuilder.errors import BundleError
from llmbuilder.strictjson import finite, no_constant, without_twins

LARGEST = 16 << 20
"""Bytes of a manifest; of a larger file no more is read."""
_MOST_LAYERS = 10_000


def read_manifest(path: Path) -> Manifest:
    """Read and check ``manifest.json`` at ``path``.

    Raises:
        BundleError: the file is no manifest, was changed, lacks fields, or was written by a newer version.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read as a manifest ({error}). Export the model again."
        ) from error
    return parse_manifest(content, path)


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Check the bytes of the file at ``path``.

    Raises:
        BundleError: see `read_manifest`.
    """
    raw = _parsed(content, path)
    version = raw.get("version")
    if not is_whole(version, 1) or int(version) > VERSION:
        raise BundleError(
            f"{path} has manifest version {shown(version)}, but this release reads versions up to {VERSION}. "
            "Upgrade llmbuilder-runtime, or export the model again with this release."
        )
    try:
        return _manifest(_from_version_1(raw) if version == 1 else _without_digest(raw))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} is malformed: {error}. Copy the bundle again, or export the model again."
        ) from error


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    if len(content) > LARGEST:
        raise BundleError(
            f"{path} has over {LARGEST} bytes, too many for a manifest. Export the model again."
        )
    try:
        raw = json.loads(
            content, object_pairs_hook=without_twins, parse_constant=no_constant, parse_float=finite
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} cannot be read as a manifest ({error}). Export the model again."
        ) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise BundleError(f"{path} is not the manifest of a {FORMAT}. Export the model with `llmb export`.")
    return raw


def _from_version_1(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts as version 2 says them; there all layers have the same cache, and there is no digest."""
    model = dict(mapping(raw.get("model"), "model"))
    if "layers" in model:
        raise ValueError("model.layers is unknown in version 1")
    layers = count(1, _MOST_LAYERS)(model.pop("num_layers", None), "model.num_layers")
    heads, size = (_SIZE(model.pop(name, None), f"model.{name}") for name in _SAME_IN_ALL_LAYERS)
    layer = {"heads": heads, "key_size": size, "value_size": size}
    return {**raw, "model": {**model, "layers": [layer] * layers}}


def _without_digest(raw: Mapping[str, Any]) -> dict[str, Any]:
    stated, found = sha256(raw.get("digest"), "digest"), digest(raw)
    if found != stated:
        raise ValueError(f"it was changed, since its digest is {stated[:8]}... and not {found[:8]}...")
    return {name: value for name, value in raw.items() if name != "digest"}


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    manifest: Manifest = _MANIFEST(raw, "")
    tokenizer, chat = manifest.tokenizer, manifest.chat
    for name in (GRAPH_NAME, tokenizer.file):
        if name not in manifest.files or manifest.files[name].optional:
            raise ValueError(f"{shown(name)} is not among the files that must be there")
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id)
    for token in (*special, *tokenizer.eos_token_ids, *(chat.end_token_ids if chat else ())):
        if token is not None and token >= manifest.model.vocab_size:
            raise ValueError(
                f"special token id {token} is outside the vocabulary of {manifest.model.vocab_size}"
            )
    if manifest.device == "cuda" and manifest.kv_cache != "float16":
        raise ValueError(f"kv_cache is {manifest.kv_cache}, which device cuda does not have")
    return manifest


def _layers(value: Any, where: str) -> tuple[LayerCache, ...]:
    layers = sequence(record(LayerCache, _LAYER))(value, where)
    count(1, _MOST_LAYERS)(len(layers), f"the length of {where}")
    return layers


def _golden(value: Any, where: str) -> tuple[str, tuple[int, ...]]:
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(where, "a text and its ids", value)
    return text(value[0], f"{where}[0]"), _IDS(value[1], f"{where}[1]")


def _files(value: Any, where: str) -> dict[str, FileEntry]:
    entries = mapping(value, where)
    for name in entries:
        if name in ("", ".", "..", MANIFEST_NAME) or not name.isprintable() or set(name) & set("/\\:"):
            raise ValueError(f"the file name {shown(name)} is not a plain name")
    read = record(FileEntry, {"size": count(0), "sha256": sha256, "optional": flag})
    return {name: read(entry, f"{where}[{shown(name)}]") for name, entry in entries.items()}


_SAME_IN_ALL_LAYERS = ("num_key_value_heads", "head_dim")
_SIZE = count(1)
_ID = count(0)
_IDS = sequence(_ID)
_LAYER: Mapping[str, Read] = {
    "heads": _SIZE,
    "key_size": _SIZE,
    "value_size": _SIZE,
    "window": optional(_SIZE),
}
_SOURCE: Mapping[str, Read] = {
    "kind": text,
    "name": text,
    "sha256": optional(sha256),
    "adapter": optional(text),
}
_MODEL: Mapping[str, Read] = {
    "architecture": text,
    "vocab_size": _SIZE,
    "context_length": _SIZE,
    "hidden_size": _SIZE,
    "num_attention_heads": _SIZE,
    "parameters": _SIZE,
    "layers": _layers,
}
_TOKENIZER: Mapping[str, Read] = {
    "kind": choice("sentencepiece", "tokenizers"),
    "file": text,
    "vocab_size": _SIZE,
    "bos_token_id": optional(_ID),
    "eos_token_ids": _IDS,
    "pad_token_id": optional(_ID),
    "prefix_ids": optional(_IDS),
    "suffix_ids": optional(_IDS),
    "golden": sequence(_golden),
}
_CHAT: Mapping[str, Read] = {"system_role": flag, "end_token_ids": _IDS, "tool_calls": optional(text)}
_MANIFEST = record(
    Manifest,
    {
        "format": text,
        "version": _SIZE,
        "created_by": text,
        "source": record(SourceFacts, _SOURCE),
        "model": record(ModelFacts, _MODEL),
        "quantization": choice(*get_args(Quantization)),
        "kv_cache": choice(*get_args(CacheType)),
        "device": choice(*get_args(Target)),
        "tokenizer": record(TokenizerFacts, _TOKENIZER),
        "chat": optional(record(ChatFacts, _CHAT)),
        "generation": shallow,
        "verification": shallow,
        "files": _files,
    },
)
