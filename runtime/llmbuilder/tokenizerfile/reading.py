"""Read a tokenizer's file and let it pass or refuse it."""

import json
from pathlib import Path
from typing import Any

from llmbuilder.checks import shown
from llmbuilder.errors import TokenizerError
from llmbuilder.strictjson import no_constant, without_twins
from llmbuilder.tokenizerfile.components import check_component
from llmbuilder.tokenizerfile.decoders import DECODERS
from llmbuilder.tokenizerfile.normalizers import NORMALIZERS
from llmbuilder.tokenizerfile.places import RefusedError, an_object
from llmbuilder.tokenizerfile.postprocessors import POST_PROCESSORS
from llmbuilder.tokenizerfile.pretokenizers import PRE_TOKENIZERS
from llmbuilder.tokenizerfile.vocabulary import check_added, check_model

LARGEST_FILE = 128 << 20
"""Bytes; those of Gemma's are 33 million."""
_SLOTS = {
    "normalizer": NORMALIZERS,
    "pre_tokenizer": PRE_TOKENIZERS,
    "post_processor": POST_PROCESSORS,
    "decoder": DECODERS,
}


def read_size_checked(path: Path) -> bytes:
    """The bytes of a tokenizer's file.

    Raises:
        TokenizerError: there are too many of them, or they cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error}. Check its permissions.") from error
    if len(content) > LARGEST_FILE:
        raise TokenizerError(f"{path} has over {LARGEST_FILE} bytes, too many for a tokenizer. Use another.")
    return content


def check_tokenizer_json(content: bytes, path: Path | str) -> int:
    """Refuse a ``tokenizer.json`` that could take the process down, or more time and memory than its texts are worth.

    Known components pass, with bounds on sizes and on how much longer they make a text. What passes can still be
    no tokenizer at all: that is for the library to say. A pattern of the file may take time that grows with the square
    of a text: the worst that pass 5 s for 10,000 characters.

    Args:
        content: the file's bytes.
        path: the file, for the message.

    Returns:
        The highest id of the model's own pieces, -1 if it has none.

    Raises:
        TokenizerError: the file is no JSON, has a key twice, an unknown component, or one beyond the bounds.
    """
    try:
        parsed = an_object(_parse(content), "the top")
        highest = check_model(parsed.get("model"), "model")
        check_added(parsed.get("added_tokens"), "added_tokens")
        for slot, known in _SLOTS.items():
            check_component(parsed.get(slot), slot, known)
    except RefusedError as error:
        raise TokenizerError(
            f"{path} {error}, which no tokenizer of a model has. Get the file from its source again, or use another."
        ) from None
    return highest


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=without_twins, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"is not a readable tokenizer.json ({shown(str(error))})") from None
