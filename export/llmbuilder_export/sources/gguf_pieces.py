"""SentencePiece's BPE of GGUF files, rebuilt from its tokens' scores; and BPE of any file."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.files import shown
from llmbuilder_export.sources.ggufs import GGUF

USER_DEFINED = 4
FOUND_FIRST = frozenset({2, 3, USER_DEFINED})
"""Kinds of tokens that are found in a text before it is split (``gguf.TokenType``): unknown, control, user-defined."""
_PREFIX = "tokenizer.ggml."
_SPACE = "\u2581"
_AGAIN = "Export the model from its Hugging Face directory instead."


class _Merge(NamedTuple):
    score: float
    left: str
    right: str


def sentencepiece_of(file: GGUF, tokens: Sequence[str], kinds: Sequence[int]) -> Tokenizer:
    """SentencePiece's BPE, which merges the pair that makes the token of the highest score, the leftmost of equals.

    Raises:
        ExportError: it is not whole, or its ids would not be those of llama.cpp.
    """
    scores = file.need(f"{_PREFIX}scores", np.ndarray).tolist()
    if len(scores) != len(tokens):
        raise ExportError(
            f"{file.path} holds {len(scores)} scores for {len(tokens)} tokens. Get the file again."
        )
    inside = {t: s for t, s, kind in zip(tokens, scores, kinds, strict=True) if kind not in FOUND_FIRST and t}
    _check_letters(file, inside, set(tokens))
    merges = _merges(tokens, scores)
    _check_ties(file, [merge for merge in merges if merge.left + merge.right in inside])
    unknown = file.get(f"{_PREFIX}unknown_token_id", int) or 0
    model = bpe(
        file,
        tokens,
        [(merge.left, merge.right) for merge in merges],
        byte_fallback=True,
        fuse_unk=True,
        unk_token=tokens[unknown] if 0 <= unknown < len(tokens) else None,
    )
    return _around(model, file)


def _around(model: models.BPE, file: GGUF) -> Tokenizer:
    """A model with what SentencePiece does to white space."""
    result = Tokenizer(model)
    prefix = file.get(f"{_PREFIX}add_space_prefix", bool) is not False
    steps: list[normalizers.Normalizer] = [normalizers.Prepend(_SPACE)] if prefix else []
    result.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    result.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return result


def _merges(tokens: Sequence[str], scores: Sequence[float]) -> list[_Merge]:
    """Every way in which two tokens make a third, the best first, as transformers' converters order them."""
    ids = {token: i for i, token in enumerate(tokens)}
    found: list[_Merge] = []
    for token, score in zip(tokens, scores, strict=True):
        parts = [(token[:at], token[at:]) for at in range(1, len(token))]
        pairs = [(left, right) for left, right in parts if left in ids and right in ids]
        found += [
            _Merge(score, *pair) for pair in sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        ]
    found.sort(key=lambda merge: (merge.score, len(merge.left), len(merge.right)), reverse=True)
    return found


def _check_letters(file: GGUF, inside: Mapping[str, float], tokens: set[str]) -> None:
    """Refuse a token that llama.cpp makes of a letter which is no token: the library takes its bytes first."""
    for token in inside:
        for letter, rest in ((token[0], token[1:]), (token[-1], token[:-1])):
            if rest and letter not in tokens and (rest in tokens or len(rest) == 1):
                raise ExportError(
                    f"{file.path} has the token {shown(token)}, but none for its letter {shown(letter)}: "
                    f"that cannot be rebuilt. {_AGAIN}"
                )


def _check_ties(file: GGUF, merges: Sequence[_Merge]) -> None:
    """Refuse two tokens of one score that texts may have to be merged to.

    llama.cpp then makes the left one first, the library the one that is first in its list, and either may take what
    the other needs. Of one character many times, as Llama 2 has spaces, both make the same: the longer left half is
    first.
    """
    for _, group in groupby(merges, key=lambda merge: merge.score):
        made = {merge.left + merge.right for merge in group}
        if len(made) > 1 and len(set().union(*made)) > 1:
            one, other = sorted(made)[:2]
            raise ExportError(
                f"{file.path} gives {shown(one)} and {shown(other)} one score, by which texts cannot be merged as "
                f"llama.cpp does. {_AGAIN}"
            )


def bpe(file: GGUF, tokens: Sequence[str], merges: Sequence[Any], **options: Any) -> models.BPE:
    """The library's model of a file's tokens.

    Raises:
        ExportError: they do not fit together.
    """
    try:
        return models.BPE({token: i for i, token in enumerate(tokens)}, list(merges), **options)
    except Exception as error:  # the library raises Exception itself
        reason = shown(error)
        raise ExportError(
            f"{file.path} has a tokenizer that cannot be rebuilt ({reason}). {_AGAIN}"
        ) from error
