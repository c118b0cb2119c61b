"""Models as they come from anyone: directories of transformers, GGUF files, adapters, old tokenizers."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from test_huggingface_source import save_model

from fuzzing import seeds
from fuzzing.changes import changed_bytes, changed_safetensors, changed_value, written
from fuzzing.ggufs import GGUFPieces, check_as_gguf_reads
from fuzzing.targets import DifferenceError
from llmbuilder.config import GenerationConfig
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.adapters import CONFIG_NAME, load_adapter
from llmbuilder_export.sources.files import read_json
from llmbuilder_export.sources.ggufs import read_gguf
from llmbuilder_export.sources.huggingface import generation_options
from llmbuilder_export.sources.tokenizer import load_tokenizer_source
from llmbuilder_export.sources.vocabularies import converted

_STORED = seeds.ROOT / "tests" / "export"
_ADAPTERS = _STORED / "lora"
_BASE = _ADAPTERS / "llama"
_WEIGHTS = "adapter_model.safetensors"
_TINY = {
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "head_dim": 4,
}
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "mixtral": {"num_local_experts": 2},
    "qwen2_moe": {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
    },
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 4},
    "gpt_neox": {},
}
_GENERATION = {
    "bos_token_id": 1, "eos_token_id": [2, 0], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20,
    "num_beams": 1, "early_stopping": False, "repetition_penalty": 1.1, "bad_words_ids": [[1]], "max_length": 20,
    "transformers_version": "5.0",
}  # fmt: skip
_SPECIAL = {"content": "<|im_end|>", "lstrip": False, "normalized": False, "rstrip": False, "special": True}
_TOKENIZERS: tuple[dict[str, Any], ...] = (
    {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    {"tokenizer_class": "CodeGenTokenizer", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
    {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "added_tokens_decoder": {"420": _SPECIAL}},
)
Files = dict[str, bytes]


class SourceOptions:
    """What lies beside weights and changes none: an adapter's options, and a model's own for generation."""

    def __init__(self, folder: Path) -> None:
        """Read those of stored adapters."""
        self._path = folder / CONFIG_NAME
        shutil.copy(_ADAPTERS / "plain" / _WEIGHTS, folder)
        self._adapters = [json.loads(path.read_text()) for path in sorted(_ADAPTERS.glob(f"*/{CONFIG_NAME}"))]

    def make(self, random: Random) -> tuple[bool, bytes]:
        """Whether it is an adapter's, and the bytes of the file."""
        adapter = random.random() < 0.5
        return adapter, written(
            changed_value(random.choice(self._adapters) if adapter else _GENERATION, random), random
        )

    def run(self, made: tuple[bool, bytes]) -> None:
        """Read it; options are those that `json` reads, as far as there are any."""
        adapter, content = made
        self._path.write_bytes(content)
        if adapter:
            options = load_adapter(self._path.parent).options
            kept = {name: getattr(options, name) for name in options.__dataclass_fields__}
        else:
            kept = generation_options(read_json(self._path))
            GenerationConfig(**kept)
        said = json.loads(content)
        if other := [
            name for name in kept if said.get(name) is not None and not _same(kept[name], said[name])
        ]:
            raise DifferenceError(f"{other} are {kept}, not {said}")


def _same(ours: Any, theirs: Any) -> bool:
    """Whether a value is what was read, where lists are tuples and one number may stand for a list of one."""
    ours = list(ours) if isinstance(ours, tuple) else ours
    return repr(ours) == repr(theirs) or ours == [theirs]


class Sources:
    """Whole models: files of a directory, a GGUF file, or an adapter, changed and loaded as at export."""

    def __init__(self, folder: Path) -> None:
        """Write small models of several families to ``folder``."""
        self._folder = folder / "made"
        self._ggufs = GGUFPieces(folder)
        self._bases = {"llama": _BASE, "gpt2": _ADAPTERS / "gpt2"}
        for family, more in _FAMILIES.items():
            self._bases[family] = folder / family
            save_model(folder / family, family, **{**_TINY, **more})
        self._adapters = [path.parent for path in sorted(_ADAPTERS.glob(f"*/{CONFIG_NAME}"))]

    def make(self, random: Random) -> tuple[str, str, Files]:
        """What kind of source it is, which one, and the files that are changed."""
        kind = random.choice(("directory", "directory", "adapter", "adapter", "gguf"))
        if kind == "gguf":
            return kind, "", {"model.gguf": self._ggufs.changed(random)}
        if kind == "directory":
            name = random.choice(list(self._bases))
            return kind, name, _changed_directory(self._bases[name], random)
        folder = random.choice(self._adapters)
        return kind, folder.name, _changed_adapter(folder, random)

    def run(self, made: tuple[str, str, Files]) -> None:
        """Load it whole."""
        kind, name, files = made
        shutil.rmtree(self._folder, ignore_errors=True)
        origin = self._bases[name] if kind == "directory" else _ADAPTERS / name
        shutil.copytree(origin, self._folder) if name else self._folder.mkdir()
        for file, content in files.items():
            (self._folder / file).write_bytes(content)
        if kind == "gguf":
            load_source(self._folder / "model.gguf")
            check_as_gguf_reads(read_gguf(self._folder / "model.gguf"))
        elif kind == "directory":
            load_source(self._folder)
        else:
            load_source(_ADAPTERS / "gpt2" if name.startswith("turned") else _BASE, adapter=self._folder)


def _changed_directory(folder: Path, random: Random) -> Files:
    name = random.choice(("config.json", "config.json", "config.json", "generation_config.json", "", "index"))
    weights = (folder / "model.safetensors").read_bytes()
    if not name:
        return {"model.safetensors": changed_safetensors(weights, random)}
    if name == "index":
        index = changed_value(
            {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "c.safetensors"}}, random
        )
        return {"pytorch_model.bin": b"", "model.safetensors.index.json": written(index, random)}
    return {name: written(changed_value(json.loads((folder / name).read_text()), random), random)}


def _changed_adapter(folder: Path, random: Random) -> Files:
    if random.random() < 0.4:
        return {_WEIGHTS: changed_safetensors((folder / _WEIGHTS).read_bytes(), random)}
    return {
        CONFIG_NAME: written(changed_value(json.loads((folder / CONFIG_NAME).read_text()), random), random)
    }


class Vocabularies:
    """Tokenizers in ``vocab.json`` and ``merges.txt``, converted and used."""

    def __init__(self, folder: Path) -> None:
        """Read those that are stored."""
        self._source, self._made = folder / "source", folder / "made"
        self._source.mkdir()
        self._made.mkdir()
        stored = _STORED / "vocabulary"
        self._vocabulary = json.loads((stored / "vocab.json").read_text(encoding="utf-8"))
        self._merges = (stored / "merges.txt").read_bytes()

    def make(self, random: Random) -> Files:
        """Three files, one of them changed."""
        config = random.choice(_TOKENIZERS)
        files = {
            "vocab.json": json.dumps(self._vocabulary).encode(),
            "merges.txt": self._merges,
            "tokenizer_config.json": json.dumps(config).encode(),
        }
        name = random.choice(list(files))
        if name == "merges.txt":
            return files | {name: changed_bytes(self._merges, random)}
        return files | {name: written(changed_value(json.loads(files[name]), random), random)}

    def run(self, made: Files) -> None:
        """Convert it, and try it out as at export."""
        for name, content in made.items():
            (self._source / name).write_bytes(content)
        found = converted(self._source, self._made)
        if found is None:
            raise DifferenceError("two files are no tokenizer")
        load_tokenizer_source(found, self._source, 1 << 40)
