"""Tokenizers in ``vocab.json`` and ``merges.txt``: ids of the tokenizers in Python of transformers 4.46.3.

``vocabulary/expected.json`` holds what these gave, loaded by their class from the same files.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from test_huggingface_source import save_model

from llmbuilder.errors import ExportError, TokenizerError
from llmbuilder.tokenizer import load_tokenizer
from llmbuilder_export import export_model
from llmbuilder_export.sources.vocabularies import converted

FOLDER = Path(__file__).with_name("vocabulary")
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
END = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
SPECIAL = {"special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
CONFIGS = {
    "gpt2": {"tokenizer_class": "GPT2Tokenizer", **END},
    "opt": {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, **END},
    "codegen": {"tokenizer_class": "CodeGenTokenizer", **END},
    "qwen2": {
        "tokenizer_class": "Qwen2Tokenizer",
        "bos_token": None,
        "eos_token": "<|endoftext|>",
        "unk_token": None,
        "added_tokens_decoder": {
            "420": {"content": "<|im_start|>", **SPECIAL},
            "421": {"content": "<|im_end|>", **SPECIAL},
        },
    },
    "plain": None,
}


@pytest.fixture
def directory(tmp_path):
    """A directory with the two files, and a configuration."""

    def make(config=None):
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(FOLDER / name, folder / name)
        if config is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize("kind", CONFIGS)
def test_ids_are_those_of_the_tokenizer_in_python(kind, directory, tmp_path):
    found = converted(directory(CONFIGS[kind]), tmp_path)
    tokenizer = load_tokenizer(found / "tokenizer.json")
    assert [tokenizer.encode(text) for text in EXPECTED["texts"]] == EXPECTED["ids"][kind]


def test_the_reference_tells_kinds_apart():
    assert EXPECTED["ids"]["opt"] != EXPECTED["ids"]["gpt2"] != EXPECTED["ids"]["qwen2"]


def test_a_directory_with_such_a_tokenizer_becomes_a_bundle(directory, tmp_path):
    folder = directory({**CONFIGS["gpt2"], "eos_token": "<|endoftext|>"})
    save_model(folder, "gpt2", vocab_size=420, bos_token_id=None, eos_token_id=None)
    report = export_model(folder, output=tmp_path / "bundle", verify=False, progress=lambda _: None)
    facts = report.manifest.tokenizer
    assert (facts.kind, facts.vocab_size, facts.eos_token_ids) == ("tokenizers", 420, (0,))
    assert load_tokenizer(report.path / facts.file).encode(EXPECTED["texts"][6]) == EXPECTED["ids"]["gpt2"][6]


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
def test_a_tokenizer_that_needs_no_conversion_is_left_alone(directory, tmp_path, name):
    folder = directory()
    (folder / name).touch()
    assert converted(folder, tmp_path) is None


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_half_of_one_is_none(directory, tmp_path, missing):
    (directory() / missing).unlink()
    assert converted(tmp_path / "source", tmp_path) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tokenizer_class": "RobertaTokenizer"}, "has a RobertaTokenizer .*only CodeGenTokenizer"),
        ({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}, "add_prefix_space"),
    ],
)
def test_what_is_not_known_to_be_exact_is_refused_by_name(directory, tmp_path, config, message):
    with pytest.raises(TokenizerError, match=message):
        converted(directory(config), tmp_path)


@pytest.mark.parametrize(("name", "content"), [("vocab.json", "{"), ("merges.txt", "no such pair\nx")])
def test_a_damaged_one_is_refused(directory, tmp_path, name, content):
    (directory(CONFIGS["gpt2"]) / name).write_text(content)
    with pytest.raises((ExportError, TokenizerError), match="cannot be read"):
        converted(tmp_path / "source", tmp_path)


def test_an_id_beyond_any_vocabulary_is_refused_before_the_library_counts_up_to_it(directory, tmp_path):
    folder = directory(CONFIGS["gpt2"])
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {"zzz": 1 << 40}))
    with pytest.raises(TokenizerError, match=r"vocab\.json has 1099511627776, no .* at model\.vocab"):
        converted(folder, tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(directory, tmp_path):
    folder = directory(CONFIGS["gpt2"])
    (folder / "merges.txt").unlink()
    os.mkfifo(folder / "merges.txt")
    with pytest.raises(ExportError, match="not a plain file"):
        converted(folder, tmp_path)
