"""GGUF files of llama.cpp's own writer, with fields of their header exchanged; read beside gguf's own reader."""

import struct
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf_files import byte_vocabulary, sentencepiece_vocabulary, write_gguf
from sentencepiece import SentencePieceProcessor
from test_huggingface_source import save_model

from fuzzing import seeds
from fuzzing.changes import changed_bytes
from fuzzing.targets import DifferenceError
from llmbuilder_export.sources.gguf_models import check_architecture, model_config, weight_names
from llmbuilder_export.sources.gguf_tokenizers import chat_template, special_ids
from llmbuilder_export.sources.ggufs import GGUF, read_gguf

_SIZES = {
    "vocab_size": seeds.SENTENCEPIECES,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "max_position_embeddings": 16,
}
_LATER = {"sliding_window": 8, "query_pre_attn_scalar": 4}
_ODD = (
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    12,
    30,
    255,
    1 << 16,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 62,
    1 << 63,
    (1 << 64) - 1,
)
_FORMS = ("<B", "<I", "<I", "<Q", "<Q")


class GGUFPieces:
    """Small files of three architectures, with both kinds of tokenizers, and the names in their headers."""

    def __init__(self, folder: Path) -> None:
        """Write them to ``folder``."""
        letters = byte_vocabulary(seeds.tokenizers()[1])
        pieces = sentencepiece_vocabulary(SentencePieceProcessor(model_proto=seeds.sentencepiece()))
        self._files = []
        for kind, words, more in (("llama", letters, {}), ("qwen3", letters, {}), ("gemma2", pieces, _LATER)):
            path = folder / "seed.gguf"
            write_gguf(path, save_model(folder / "seed", kind, **_SIZES, **more), words)
            found = read_gguf(path)
            self._files.append(
                (path.read_bytes(), [name.encode() for name in (*found.facts, *found.tensors)])
            )

    def changed(self, random: Random) -> bytes:
        """A file with a few numbers exchanged around the names of its header, now and then any bytes."""
        content, names = random.choice(self._files)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            content = _exchanged(content, names, random)
        return changed_bytes(content, random) if random.random() < 0.1 else content


def _exchanged(content: bytes, names: list[bytes], random: Random) -> bytes:
    """Another name, or another number before it (its length) or behind it (types, counts, sizes, values)."""
    name = random.choice(names)
    if random.random() < 0.2:
        alike = [other for other in names if len(other) == len(name)]
        return content.replace(name, random.choice(alike), 1)
    if random.random() < 0.1:
        return content.replace(name, name[:-1] + bytes([random.randrange(256)]), 1)
    form = random.choice(_FORMS)
    end = content.find(name) + len(name)
    at = random.choice((4, 8, 16, end - len(name) - 8, end, *(end + 4 * step for step in range(1, 9))))
    limit = 1 << 8 * struct.calcsize(form)
    number = random.choice(_ODD) if random.random() < 0.7 else random.randrange(40)
    return content[:at] + struct.pack(form, number % limit) + content[at + struct.calcsize(form) :]


class GGUFs:
    """Headers: metadata, the model's configuration, names and places of weights."""

    def __init__(self, folder: Path) -> None:
        """Write files to ``folder``."""
        self._path = folder / "model.gguf"
        self._pieces = GGUFPieces(folder)

    def make(self, random: Random) -> bytes:
        """The bytes of a file."""
        return self._pieces.changed(random)

    def run(self, made: bytes) -> None:
        """Read all but weights; what is read must be what gguf's own reader reads."""
        self._path.write_bytes(made)
        file = read_gguf(self._path)
        check_as_gguf_reads(file)
        check_architecture(file)
        model_config(file)
        weight_names(file)
        special_ids(file)
        chat_template(file)


def check_as_gguf_reads(file: GGUF) -> None:
    """Compare metadata and places of tensors.

    Raises:
        DifferenceError: gguf's own reader refuses the file, or reads something else.
    """
    try:
        theirs = GGUFReader(file.path)
    except Exception as error:
        raise DifferenceError(f"gguf refuses it: {error}") from error
    facts = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    ours = {name: _plain(value) for name, value in file.facts.items()}
    if repr(ours) != repr({name: _plain(value) for name, value in facts.items()}):
        raise DifferenceError(f"gguf reads {facts}, we {ours}")
    places = [(each.name, tuple(reversed(each.shape.tolist())), each.tensor_type, each.data_offset, each.n_bytes)
              for each in theirs.tensors]  # fmt: skip
    found = [(each.name, each.shape, each.kind, each.start, each.size) for each in file.tensors.values()]
    if places != found:
        raise DifferenceError(f"gguf reads the places {places}, we {found}")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
