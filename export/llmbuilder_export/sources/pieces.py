"""SentencePiece files in directories of transformers, whose tokenizer may be more than the file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from llmbuilder.errors import TokenizerError
from llmbuilder_export.sources.files import read_json, shown

_PLAIN = frozenset({"LlamaTokenizer", "GemmaTokenizer"})
"""Classes of transformers whose ids are the file's."""
_SHIFTED = frozenset({"xglm"})
"""Families whose ids are not, if no class is named."""


def refuse_other_ids(path: Path, count: int) -> None:
    """Refuse a SentencePiece file that makes other ids than the tokenizer which the files beside it describe.

    Args:
        path: the file.
        count: number of its pieces.

    Raises:
        TokenizerError: it does.
        ExportError: one of them is damaged or no plain file.
    """
    if (reason := next(_reasons(path.parent, count), None)) is not None:
        raise TokenizerError(
            f"{path} alone is not this model's tokenizer: {reason}. Load it with transformers, save it as "
            "tokenizer.json (save_pretrained), compare its ids, and pass that."
        )


def _reasons(directory: Path, count: int) -> Iterator[str]:
    options = read_json(directory / "tokenizer_config.json")
    kind = options.get("tokenizer_class")
    family = read_json(directory / "config.json").get("model_type")
    if isinstance(kind, str) and kind.removesuffix("Fast") not in _PLAIN:
        yield f"it is a {shown(kind)}, whose ids are not known to be the file's"
    elif kind is None and isinstance(family, str) and family in _SHIFTED:
        yield f"the family {family} has ids of its own"
    for option in ("add_bos_token", "add_eos_token"):
        if options.get(option):
            yield f"tokenizer_config.json says {option}, which the file does not do"
    added = options.get("added_tokens_decoder")
    ids = [
        *read_json(directory / "added_tokens.json").values(),
        *(added if isinstance(added, Mapping) else ()),
    ]
    if any(str(number).isdecimal() and int(number) >= count for number in ids):
        yield f"files beside it add tokens to its {count} pieces"
