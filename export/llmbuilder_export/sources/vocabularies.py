"""Tokenizers of old directories, ``vocab.json`` and ``merges.txt``, as the one file that a bundle has.

transformers converts them. Only those are taken whose ids were compared with the ids of what read such files first:
tokenizers in Python, of transformers 4.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmbuilder.errors import TokenizerError
from llmbuilder.tokenizerfile.reading import check_tokenizer_json
from llmbuilder_export.sources.files import read_json, refuse_special, shown

_FILES = ("vocab.json", "merges.txt")
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json")
"""Where special tokens are named, and their ids."""
_KINDS = frozenset({"GPT2Tokenizer", "Qwen2Tokenizer", "CodeGenTokenizer"})
_LONGEST = 64 << 20
"""Bytes of merges: those of 300,000 have 5 MB."""
_SAVE = (
    "Load it with transformers, save it as tokenizer.json (save_pretrained), compare its ids, and pass that."
)


def converted(directory: Path, folder: Path) -> Path | None:
    """The folder, with the tokenizer of a directory and what says its special tokens.

    Args:
        directory: where a tokenizer may be.
        folder: where to write.

    Returns:
        None if the directory holds no such tokenizer, or one that needs no conversion.

    Raises:
        TokenizerError: it is of a kind that is not known to be converted exactly, or damaged.
        ExportError: a file is no plain one, or damaged.
    """
    if not all((directory / name).exists() for name in _FILES):
        return None
    if (directory / "tokenizer.json").exists() or any(directory.glob("*.model")):
        return None
    for name in _FILES:
        refuse_special(directory / name)
    if (directory / _FILES[1]).stat().st_size > _LONGEST:
        raise TokenizerError(f"{directory / _FILES[1]} has more than {_LONGEST >> 20} MB. Get it again.")
    _check_ids(directory / _FILES[0])
    options = read_json(directory / _BESIDE[0])
    if options.get("add_prefix_space"):
        raise TokenizerError(
            f"{directory} has a tokenizer with add_prefix_space, which is not converted exactly. {_SAVE}"
        )
    tokenizer = _load(directory, options)
    if (kind := type(tokenizer).__name__) not in _KINDS:
        raise TokenizerError(
            f"{directory} has a {kind} in {' and '.join(_FILES)}; of these only {', '.join(sorted(_KINDS))} are "
            f"known to be converted exactly. {_SAVE}"
        )
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    for name in _BESIDE:
        if read_json(directory / name):
            shutil.copyfile(directory / name, folder / name)
    return folder


def _check_ids(path: Path) -> None:
    """Refuse pieces with numbers beyond any vocabulary's: the library counts up to the highest."""
    check_tokenizer_json(json.dumps({"model": {"vocab": dict(read_json(path))}}).encode(), path)


def _load(directory: Path, options: Mapping[str, Any]) -> Any:
    """The tokenizer, of the kind that a configuration says, else of GPT-2's."""
    from transformers import AutoTokenizer, GPT2Tokenizer

    said = "tokenizer_class" in options or "model_type" in read_json(directory / "config.json")
    kind = AutoTokenizer if said else GPT2Tokenizer
    try:
        return kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and its files may raise anything
        reason = shown(str(error).strip().partition("\n")[0])
        raise TokenizerError(
            f"The tokenizer in {directory} ({', '.join(_FILES)}) cannot be read: {reason}. Get its files again."
        ) from error
