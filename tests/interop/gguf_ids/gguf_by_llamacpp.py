"""What llama.cpp makes of texts, in the environment that has it.

``python gguf_by_llamacpp.py`` reads files and texts (JSON) from stdin and writes the ids of each file's texts (JSON).
"""

import ctypes
import json
import sys

import llama_cpp as lib

SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)


def main() -> None:
    """Read, tokenize, write."""
    asked = json.load(sys.stdin)
    lib.llama_log_set(SILENT, None)
    lib.llama_backend_init()
    found = {file: ids(vocabulary_of(file), asked["texts"]) for file in asked["files"]}
    json.dump({"release": lib.__version__, "ids": found}, sys.stdout)


def vocabulary_of(file: str) -> object:
    """The vocabulary of a file; it is never freed."""
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    model = lib.llama_model_load_from_file(file.encode(), parameters)
    if not model:
        raise SystemExit(f"llama.cpp cannot read {file}.")
    return lib.llama_model_get_vocab(model)


def ids(vocabulary: object, texts: list[str]) -> list[list[int]]:
    """The ids of texts, as they begin a prompt, control tokens read out of them."""
    found = []
    for text in texts:
        content = text.encode()
        room = len(content) + 8
        tokens = (lib.llama_token * room)()
        count = lib.llama_tokenize(vocabulary, content, len(content), tokens, room, True, True)
        found.append(list(tokens[:count]))
    return found


if __name__ == "__main__":
    main()
