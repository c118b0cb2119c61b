"""Tokenizers of GGUF files as ``tokenizer.json``, with the ids that the file gives its tokens.

A file names the rule by which text is split before it is merged, one of those in llama.cpp's ``llama-vocab.cpp``. What
llama.cpp does against the file is not done: it takes some names, such as ``</s>``, for control tokens that are none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors

from llmbuilder.errors import ExportError
from llmbuilder.tokenizerfile.places import RefusedError
from llmbuilder.tokenizerfile.vocabulary import check_added, check_model
from llmbuilder_export.sources.files import shown
from llmbuilder_export.sources.gguf_overlaps import overlap
from llmbuilder_export.sources.gguf_pieces import FOUND_FIRST, USER_DEFINED, bpe, sentencepiece_of
from llmbuilder_export.sources.ggufs import GGUF

_PREFIX = "tokenizer.ggml."
_USUAL_IDS = {"llama": {"bos": 1, "eos": 2, "unknown": 0}}
"""Those of a kind of tokenizer, where a file does not say them."""
_TAKES_SPACE = ("phi-3", "phi3")
"""Parts of models' names for which llama.cpp lets control tokens take in the white space behind them."""
_MOST_SPLIT = 1 << 27
"""Characters of all halves into which tokens can be cut: of 262,144 tokens of 22 characters each."""
_AGAIN = "Export the model from its Hugging Face directory instead."
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Rule:
    """How text is split, and what else llama.cpp ties to that name."""

    split: Callable[[], pre_tokenizers.PreTokenizer]
    whole_words: bool = False
    """Whether a word that is a token is one, whatever its merges say."""
    begins: bool = False
    """Whether texts begin with the token for that, where the file does not say."""


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _smollm() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _words(digits: str) -> Callable[[], pre_tokenizers.PreTokenizer]:
    def split() -> pre_tokenizers.PreTokenizer:
        pattern = Regex(_WORDS.format(digits=digits))
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    return split


_LLAMA3 = _Rule(_words("{1,3}"), whole_words=True, begins=True)
_RULES = {
    "gpt-2": _Rule(_gpt2),
    "smollm": _Rule(_smollm),
    "qwen2": _Rule(_words("")),
    "deepseek-r1-qwen": _Rule(_words("")),
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
}


def tokenizer_of(file: GGUF) -> Tokenizer:
    """Rebuild a file's tokenizer.

    Raises:
        ExportError: it is of a kind that cannot be rebuilt, or is not whole.
    """
    kind = file.need(f"{_PREFIX}model", str)
    name = file.get("general.name", str) or ""
    if any(part in name.lower() for part in _TAKES_SPACE):
        raise ExportError(
            f"{file.path} is of a model named {shown(name)}, whose control tokens take in white space. {_AGAIN}"
        )
    tokens, kinds = _tokens(file)
    _check_sizes(file, tokens, kinds)
    if kind == "gpt2":
        result, begins = _bytes_of(file, tokens)
    elif kind == "llama":
        result, begins = sentencepiece_of(file, tokens, kinds), True
    else:
        raise ExportError(
            f"{file.path} has a tokenizer of the kind {shown(kind)}, which cannot be rebuilt. {_AGAIN}"
        )
    added = [
        (token, number)
        for token, number in zip(tokens, kinds, strict=True)
        if number in FOUND_FIRST and token
    ]
    _check_overlaps(file, [token for token, _ in added])
    result.add_tokens(
        [AddedToken(t, normalized=False, special=number != USER_DEFINED) for t, number in added]
    )
    _frame(result, file, tokens, begins=begins)
    return result


def special_ids(file: GGUF) -> dict[str, Any]:
    """The special tokens' ids under the names of ``generation_config.json``; several that end a text are a list."""
    ends = [_id(file, name) for name in ("eos", "eot", "eom")]
    eos = list(dict.fromkeys(i for i in ends if i is not None))
    found = {
        "bos_token_id": _id(file, "bos"),
        "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
        "pad_token_id": _id(file, "padding"),
    }
    return {name: value for name, value in found.items() if value is not None}


def chat_template(file: GGUF) -> str | None:
    """The template for conversations, if there is one."""
    return file.get("tokenizer.chat_template", str)


def tokenizer_files(file: GGUF) -> dict[str, str]:
    """What lies beside a model in a directory of transformers, as far as its tokenizer needs it, by name."""
    return {
        "tokenizer.json": tokenizer_of(file).to_str(pretty=True),
        "generation_config.json": json.dumps(special_ids(file)),
    }


def _id(file: GGUF, name: str) -> int | None:
    found = file.get(f"{_PREFIX}{name}_token_id", int)
    if found is None:
        found = _USUAL_IDS.get(file.need(f"{_PREFIX}model", str), {}).get(name)
    count = len(file.need(f"{_PREFIX}tokens", list))
    return found if found is not None and 0 <= found < count else None


def _tokens(file: GGUF) -> tuple[list[str], Sequence[int]]:
    """All tokens in the order of their ids, and the kind of each.

    Raises:
        ExportError: there are none, they are no texts, one is there twice, or kinds are missing.
    """
    tokens = file.need(f"{_PREFIX}tokens", list)
    kinds = file.need(f"{_PREFIX}token_type", np.ndarray).tolist()
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise ExportError(f"{file.path} says no {_PREFIX}tokens. Get the file again.")
    if len(set(tokens)) != len(tokens) or len(kinds) != len(tokens):
        raise ExportError(
            f"{file.path} holds a token twice, or {len(kinds)} kinds for {len(tokens)} tokens. {_AGAIN}"
        )
    return tokens, kinds


def _check_sizes(file: GGUF, tokens: Sequence[str], kinds: Sequence[int]) -> None:
    """Refuse tokens that no model has, before they take the library's time, or ours.

    Raises:
        ExportError: they are too many or too long.
    """
    special = [{"content": t, "id": i} for i, t in enumerate(tokens) if kinds[i] in FOUND_FIRST]
    try:
        check_model({"vocab": {token: i for i, token in enumerate(tokens)}}, f"{_PREFIX}tokens")
        check_added(special, f"{_PREFIX}tokens")
    except RefusedError as error:
        raise ExportError(f"{file.path} {error}, which no model has. Get the file again.") from None
    if sum(len(token) ** 2 for token in tokens) > _MOST_SPLIT:
        raise ExportError(f"{file.path} has longer {_PREFIX}tokens than any model. Get the file again.")


def _check_overlaps(file: GGUF, found_first: Sequence[str]) -> None:
    if two := overlap(found_first):
        one, other = map(shown, two)
        raise ExportError(
            f"{file.path} has the tokens {one} and {other}, of which in a text one begins before the other ends, "
            f"where llama.cpp takes the longer first, which is not done here. {_AGAIN}"
        )


def _bytes_of(file: GGUF, tokens: Sequence[str]) -> tuple[Tokenizer, bool]:
    """Byte-level BPE, and whether its texts have a beginning where nothing is said."""
    name = file.get(f"{_PREFIX}pre", str)
    if name not in _RULES:
        raise ExportError(
            f"{file.path} splits text by the rule {shown(name or 'of an old converter, without a name')}, which is "
            f"not known here. {_AGAIN}"
        )
    rule = _RULES[name]
    said = dict.fromkeys(file.need(f"{_PREFIX}merges", list))  # of two that are equal the first counts
    merges = [tuple(str(merge).split(" ", 2)) for merge in said]
    model = bpe(file, tokens, merges, ignore_merges=rule.whole_words)
    result = Tokenizer(model)
    result.pre_tokenizer = rule.split()
    result.decoder = decoders.ByteLevel()
    return result, rule.begins


def _frame(tokenizer: Tokenizer, file: GGUF, tokens: Sequence[str], *, begins: bool) -> None:
    """Let texts begin and end with the tokens for that, where the file says so or, of the beginning, says nothing."""
    wanted: Mapping[str, bool] = {"bos": begins, "eos": False}
    ids = {}
    for name, usual in wanted.items():
        said = file.get(f"{_PREFIX}add_{name}_token", bool)
        if not (usual if said is None else said):
            continue
        if (number := _id(file, name)) is None:
            raise ExportError(
                f"{file.path} puts a token around texts, but does not say which: there is no {_PREFIX}{name}_token_id. "
                f"{_AGAIN}"
            )
        ids[name] = number
    if not ids:
        return
    before = [tokens[ids["bos"]]] if "bos" in ids else []
    after = [tokens[ids["eos"]]] if "eos" in ids else []
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, *(f"{token}:1" for token in before), "$B:1", *(f"{t}:1" for t in after)],
        special_tokens=[(tokens[number], number) for number in ids.values()],
    )
