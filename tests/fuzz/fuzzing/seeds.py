"""Real files and values that inputs are made from."""

import io
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
STORYTELLER = ROOT / "artifacts" / "storyteller" / "bundle"
_OLD = ROOT / "tests" / "runtime" / "data" / "version_1"
TEXTS = (
    "Once upon a time, there was a little girl.",
    "  Two spaces, 12345 and 3.14!\nA new line\tand a tab.",
    "naïve café: 你好, мир 🙂 ﷺ ½",
    "",
    "a" * 40,
    "</s><|end|> <unk>",
)


def manifests() -> list[dict[str, Any]]:
    """The manifests of stored bundles."""
    paths = [STORYTELLER / "manifest.json", *sorted(_OLD.rglob("manifest.json"))]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def replacing(pattern: str, content: str) -> dict[str, Any]:
    """A component that replaces."""
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


SENTENCEPIECES = 330


def sentencepiece() -> bytes:
    """A small SentencePiece model with bytes for unknown characters."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:3]),
        model_writer=model,
        model_type="bpe",
        vocab_size=SENTENCEPIECES,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


_LETTERS = "abcdefghijklmnop 012.,eéĠ▁"
_PIECES = {
    letter: number for number, letter in enumerate(("<unk>", "<s>", "</s>", *_LETTERS, "on", "ce", "##a"))
}
_SPLIT = (
    r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MARK = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
_FRAME: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{"id": 1, "content": "<s>", **_MARK}, {"id": 2, "content": "</s>", **_MARK}],
}
_ONES = {"single_word": True, "lstrip": True, "rstrip": True, "normalized": True, "special": False}


def tokenizers() -> list[dict[str, Any]]:
    """Small tokenizers of every model, with the components that converters write."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    split = {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False}
    mark, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    named = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    around = {
        "type": "TemplateProcessing",
        "single": [mark, text],
        "pair": [mark, text],
        "special_tokens": named,
    }
    bpe = {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
        "vocab": _PIECES, "merges": ["o n", "c e"],
    }  # fmt: skip
    unigram = {
        "type": "Unigram", "unk_id": 0, "byte_fallback": False,
        "vocab": [[piece, -float(number)] for piece, number in _PIECES.items()],
    }  # fmt: skip
    wordpiece = {
        "type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": _PIECES,
    }  # fmt: skip
    return [
        _FRAME | {
            "normalizer": _sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replacing(" ", "▁")),
            "pre_tokenizer": None, "post_processor": around, "model": bpe,
            "decoder": _sequence("decoders", replacing("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                                 {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
        },
        _FRAME | {
            "normalizer": {"type": "NFC"}, "pre_tokenizer": _sequence("pretokenizers", split, byte_level),
            "post_processor": byte_level, "decoder": byte_level,
            "model": bpe | {"type": "BPE", "merges": [["o", "n"]], "byte_fallback": False},
            "added_tokens": [{"id": 3, "content": "<x>", **_ONES}],
        },
        _FRAME | {
            "normalizer": _sequence("normalizers", {"type": "Precompiled", "precompiled_charsmap": _charsmap()},
                                    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}),
            "pre_tokenizer": metaspace, "post_processor": around, "decoder": metaspace, "model": unigram,
        },
        _FRAME | {
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}, "model": wordpiece,
        },
        _FRAME | {
            "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None,
            "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
            "model": {"type": "WordLevel", "vocab": _PIECES, "unk_token": "<unk>"},
        },
    ]  # fmt: skip


def _sequence(key: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", key: list(parts)}


def _charsmap() -> str:
    """A table that makes a space of a tab and ``ss`` of a ß."""
    import base64
    import struct

    units = [0] * 768
    base = 256
    units[0] = base << 10

    def put(parent: int, byte: int, offset: int, *, leaf: bool) -> None:
        units[parent ^ byte] = (((parent ^ byte) ^ offset) << 10) | (leaf << 8) | byte

    put(base, 9, 300, leaf=True)
    units[300] = 1 << 31
    put(base, 0xC3, 512, leaf=False)
    put(512, 0x9F, 301, leaf=True)
    units[301] = 1 << 31 | 2
    table = struct.pack("<I768I", 4 * 768, *units) + b" \0ss\0"
    return base64.b64encode(table).decode()
