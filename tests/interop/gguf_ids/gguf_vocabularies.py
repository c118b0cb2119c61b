"""Vocabularies as GGUF files that hold no weights, as llama.cpp's converter writes them."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

Add = Callable[[GGUFWriter], None]
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
RULES = ("gpt-2", "smollm", "qwen2", "deepseek-r1-qwen", "llama-bpe", "llama3", "llama-v3")


def byte_level(lines: Sequence[str], size: int, pre: str, **facts: bool) -> Add:
    """Byte-level BPE, trained without splitting, so that merges show how a text was split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), "<think>"]
    kinds = dict.fromkeys(CONTROL, TokenType.CONTROL) | {"<think>": TokenType.USER_DEFINED}

    def add(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types([kinds.get(token, TokenType.NORMAL) for token in tokens])
        writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
        _add_ids(writer, {"bos": 0, "eos": 2, "unknown": 0, "padding": 0}, facts)

    return add


def pieces(lines: Sequence[str], size: int, options: Mapping[str, Any], **facts: bool) -> Add:
    """SentencePiece's BPE with bytes; ``options`` are of its trainer."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=size,
        byte_fallback=True, minloglevel=2, num_threads=1, **options,
    )  # fmt: skip
    processor = SentencePieceProcessor(model_proto=model.getvalue())
    user_defined = set(options.get("user_defined_symbols", ()))
    tokens = [processor.id_to_piece(i) for i in range(processor.vocab_size())]

    def kind(i: int) -> TokenType:
        tests = (
            (tokens[i] in user_defined, TokenType.USER_DEFINED),
            (processor.is_unknown(i), TokenType.UNKNOWN),
            (processor.is_control(i), TokenType.CONTROL),
            (processor.is_byte(i), TokenType.BYTE),
        )
        return next((kind for holds, kind in tests if holds), TokenType.NORMAL)

    def add(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        stored = [t.replace("\u2581", " ") if t in user_defined else t for t in tokens]
        writer.add_token_list(stored)
        writer.add_token_scores([processor.get_score(i) for i in range(len(tokens))])
        writer.add_token_types([kind(i) for i in range(len(tokens))])
        ids = {"bos": processor.bos_id(), "eos": processor.eos_id(), "unknown": processor.unk_id()}
        _add_ids(writer, {name: i for name, i in ids.items() if i >= 0}, facts)

    return add


def _add_ids(writer: GGUFWriter, ids: Mapping[str, int], facts: Mapping[str, bool]) -> None:
    for name, number in ids.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    for name, value in facts.items():
        writer.add_bool(f"tokenizer.ggml.{name}", value)


def write(path: Path, add: Add, architecture: str = "llama") -> Path:
    """Write a file without weights."""
    writer = GGUFWriter(path, architecture)
    for name, value in (
        ("context_length", 64), ("embedding_length", 32), ("block_count", 1), ("feed_forward_length", 32),
        ("attention.head_count", 2),
    ):  # fmt: skip
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


GEMMA = {
    "bos_id": 2, "eos_id": 1, "unk_id": 3, "pad_id": 0, "bos_piece": "<bos>", "eos_piece": "<eos>",
    "pad_piece": "<pad>", "add_dummy_prefix": False, "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
    "user_defined_symbols": ["<start_of_turn>", "<end_of_turn>", "<unused0>",
        *(space * n for space in ("\n", "\u2581") for n in range(2, 9))],
}  # fmt: skip
LLAMA = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "split_digits": True}


def every_kind(lines: Sequence[str], size: int = 2000) -> dict[str, Add]:
    """All vocabularies, by names."""
    framed = {"add_bos_token": True, "add_eos_token": True}
    return {f"bytes-{pre}": byte_level(lines, size, pre) for pre in RULES} | {
        "bytes-framed": byte_level(lines, size, "qwen2", **framed),
        "pieces-llama": pieces(lines, size, LLAMA),
        "pieces-framed": pieces(lines, size, LLAMA, **framed),
        "pieces-without-prefix": pieces(lines, size, LLAMA, add_bos_token=False, add_space_prefix=False),
        "pieces-gemma": pieces(lines, size, GEMMA, add_bos_token=True, add_space_prefix=False),
    }
