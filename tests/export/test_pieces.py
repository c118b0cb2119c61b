"""A SentencePiece file beside files of transformers is taken where it is the whole tokenizer, else refused."""

import json
import shutil

import pytest

from llmbuilder.errors import TokenizerError
from llmbuilder_export.sources.tokenizer import load_tokenizer_source

VOCABULARY = 2000
ADDED = {"1999": {"content": "<|im_start|>", "special": True}}


@pytest.fixture
def directory(tmp_path, sentencepiece_file):
    shutil.copy(sentencepiece_file, tmp_path / "tokenizer.model")
    return tmp_path


def describe(directory, **files):
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config": {"model_type": "llama"}},
        {"tokenizer_config": {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": False}},
        {
            "tokenizer_config": {
                "tokenizer_class": "GemmaTokenizer",
                "added_tokens_decoder": {"0": {"content": "<unk>"}},
            }
        },
    ],
)
def test_a_file_that_is_the_whole_tokenizer_is_taken(directory, files):
    describe(directory, **files)
    assert load_tokenizer_source(None, directory, VOCABULARY).facts.kind == "sentencepiece"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"tokenizer_config": {"tokenizer_class": "XGLMTokenizer"}},
            "it is a XGLMTokenizer, whose ids are not known",
        ),
        ({"config": {"model_type": "xglm"}}, "the family xglm has ids of its own"),
        ({"tokenizer_config": {"add_bos_token": True}}, "says add_bos_token"),
        ({"tokenizer_config": {"add_eos_token": True}}, "says add_eos_token"),
        ({"tokenizer_config": {"added_tokens_decoder": ADDED}}, "add tokens to its"),
        ({"added_tokens": {"<|im_start|>": 1999}}, "add tokens to its"),
    ],
)
def test_a_file_that_makes_other_ids_than_the_tokenizer_is_refused(directory, files, reason):
    """transformers puts them elsewhere: with those of the file the model would read another text, and say nothing."""
    describe(directory, **files)
    with pytest.raises(TokenizerError, match=f"{reason}.*save it as tokenizer.json"):
        load_tokenizer_source(None, directory, VOCABULARY)


def test_it_is_found_under_other_names(tmp_path, sentencepiece_file):
    shutil.copy(sentencepiece_file, tmp_path / "spiece.model")
    describe(tmp_path, tokenizer_config={"tokenizer_class": "T5Tokenizer"})
    with pytest.raises(
        TokenizerError, match=r"spiece\.model alone is not this model's tokenizer: it is a T5Tokenizer"
    ):
        load_tokenizer_source(None, tmp_path, VOCABULARY)
