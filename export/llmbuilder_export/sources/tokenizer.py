"""Find a model's tokenizer and note what the runtime must know of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbuilder.bundle.manifest import TokenizerFacts
from llmbuilder.errors import TokenizerError
from llmbuilder.tokenizer import Tokenizer, load_tokenizer
from llmbuilder_export.sources.files import read_json
from llmbuilder_export.sources.pieces import refuse_other_ids

SENTENCEPIECE_NAME = "tokenizer.model"
JSON_NAME = "tokenizer.json"
GOLDEN_TEXTS = (
    "Once upon a time, there was a little girl.",
    "  Two spaces, 12345 and 3.14!\nA new line\tand a tab.",
    "naïve café: 你好, мир 🙂",
)
"""Texts whose ids at export are kept, so that a runtime can tell whether its tokenizer still agrees."""

_USUAL_NAMES = {
    "bos_token": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]"),
    "eos_token": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "[EOS]"),
    "pad_token": ("<pad>", "<|pad|>", "[PAD]"),
}
_SPECIAL_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_ID_FILES = ("generation_config.json", "config.json")


@dataclass(frozen=True)
class TokenizerSource:
    """A tokenizer's file, its facts for the manifest (which name it as it is called in a bundle), and what it holds."""

    path: Path
    facts: TokenizerFacts
    content: bytes


def load_tokenizer_source(
    given: Path | None, model: Path, vocab_size: int, eos_token_ids: tuple[int, ...] = ()
) -> TokenizerSource:
    """Find the tokenizer of a model and check that it fits.

    Args:
        given: a tokenizer file, or a directory holding one; None looks in the model's directory, or for a checkpoint
            file in its directory and in ``tokenizer`` beside it.
        model: the model's directory or file; the name of one in memory.
        vocab_size: number of ids the model knows.
        eos_token_ids: which tokens end a text; empty: the tokenizer or files beside it say it.

    Raises:
        TokenizerError: none or several found, unreadable, or with more ids than the model.
        ExportError: a configuration beside it is damaged or no plain file.
    """
    path = _find(given, model)
    tokenizer = load_tokenizer(path)
    if tokenizer.vocab_size > vocab_size:
        raise TokenizerError(
            f"The tokenizer {path} has {tokenizer.vocab_size} tokens, the model {model} only {vocab_size}. "
            "Pass the tokenizer the model was trained with."
        )
    is_json = path.suffix == ".json"
    if not is_json:
        refuse_other_ids(path, tokenizer.vocab_size)
    bos, eos, pad = _json_specials(path, vocab_size) if is_json else _sentencepiece_specials(path)
    prefix, suffix = _added(tokenizer)
    facts = TokenizerFacts(
        kind="tokenizers" if is_json else "sentencepiece",
        file=JSON_NAME if is_json else SENTENCEPIECE_NAME,
        vocab_size=tokenizer.vocab_size,
        bos_token_id=bos,
        eos_token_ids=eos_token_ids or eos,
        pad_token_id=pad,
        prefix_ids=prefix,
        suffix_ids=suffix,
        golden=tuple((text, tuple(tokenizer.encode(text))) for text in GOLDEN_TEXTS),
    )
    return TokenizerSource(path, facts, path.read_bytes())


def _added(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]] | tuple[None, None]:
    """What the tokenizer puts before and behind a text, if that is all it does."""
    text = GOLDEN_TEXTS[0]
    whole, inner = tokenizer.encode(text), tokenizer.encode(text, add_special=False)
    for at in range(len(whole) - len(inner) + 1):
        if whole[at : at + len(inner)] == inner:
            return tuple(whole[:at]), tuple(whole[at + len(inner) :])
    return None, None


def _find(given: Path | None, model: Path) -> Path:
    places = [given] if given is not None else _usual_places(model)
    for place in places:
        if place.is_file():
            return place
        if place.is_dir() and (found := _in_directory(place)) is not None:
            return found
    wanted = f"{JSON_NAME}, *.model, or vocab.json with merges.txt"
    raise TokenizerError(
        f"There is no tokenizer ({wanted}) in {', '.join(map(str, places))}. Pass its file or directory with -t."
    )


def _usual_places(model: Path) -> list[Path]:
    if model.is_dir():
        return [model]
    return [model.parent / "tokenizer", model.parent, model.parent.parent / "tokenizer"]


def _in_directory(directory: Path) -> Path | None:
    for name in (JSON_NAME, SENTENCEPIECE_NAME):
        if (directory / name).is_file():
            return directory / name
    models = sorted(directory.glob("*.model"))
    if len(models) > 1:
        names = ", ".join(path.name for path in models)
        raise TokenizerError(f"{directory} holds several tokenizers ({names}). Pass the file to use.")
    return models[0] if models else None


Specials = tuple[int | None, tuple[int, ...], int | None]


def _sentencepiece_specials(path: Path) -> Specials:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(path))
    bos, eos, pad = (
        i if i >= 0 else None for i in (processor.bos_id(), processor.eos_id(), processor.pad_id())
    )
    return bos, (eos,) if eos is not None else (), pad


def _json_specials(path: Path, vocab_size: int) -> Specials:
    """Special ids as the model's configuration has them, else as the tokenizer's names them, else by usual names."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))

    def one(kind: str) -> tuple[int, ...]:
        stated = [token_ids(config.get(f"{kind}_id")) for config in _configs(path.parent, _ID_FILES)]
        named = (tokenizer.token_to_id(name) for name in _names(path.parent, kind))
        candidates = [*stated, *((i,) for i in named if i is not None)]
        return next((ids for ids in candidates if ids and all(0 <= i < vocab_size for i in ids)), ())

    bos, eos, pad = one("bos_token"), one("eos_token"), one("pad_token")
    return next(iter(bos), None), eos, next(iter(pad), None)


def token_ids(value: object) -> tuple[int, ...]:
    """Ids as configurations have them: one, a list, or none."""
    values = value if isinstance(value, list) else [value]
    return tuple(i for i in values if isinstance(i, int) and not isinstance(i, bool))


def _names(directory: Path, kind: str) -> Iterator[str]:
    for config in _configs(directory, _SPECIAL_FILES):
        token = config.get(kind)
        if isinstance(token, Mapping):
            token = token.get("content")
        if isinstance(token, str):
            yield token
    yield from _USUAL_NAMES[kind]


def _configs(directory: Path, names: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """The JSON objects among the named files."""
    return (read_json(directory / name) for name in names)
