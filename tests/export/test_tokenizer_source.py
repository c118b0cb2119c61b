"""Finding a model's tokenizer, and the facts the manifest keeps of it."""

import json
import shutil

import pytest

from llmbuilder.errors import ExportError, TokenizerError
from llmbuilder.tokenizer import load_tokenizer
from llmbuilder_export.sources.tokenizer import GOLDEN_TEXTS, load_tokenizer_source

VOCABULARY = 400


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "run" / "model"
    directory.mkdir(parents=True)
    (directory / "model.pt").touch()
    return directory / "model.pt"


@pytest.mark.parametrize("place", ["run/model/tokenizer", "run/model", "run/tokenizer"])
def test_a_checkpoints_tokenizer_is_found_in_the_usual_places(model, tmp_path, sentencepiece_file, place):
    (tmp_path / place).mkdir(exist_ok=True)
    expected = shutil.copy(sentencepiece_file, tmp_path / place / "stories_8k.model")
    assert load_tokenizer_source(None, model, VOCABULARY).path == expected


def test_a_file_or_its_directory_may_be_given(model, byte_bpe_file):
    for given in (byte_bpe_file, byte_bpe_file.parent):
        found = load_tokenizer_source(given, model, VOCABULARY)
        assert (found.path, found.facts.kind) == (byte_bpe_file, "tokenizers")


def test_in_the_bundle_it_has_its_usual_name(model, sentencepiece_file, tmp_path):
    given = shutil.copy(sentencepiece_file, tmp_path / "mine.model")
    assert load_tokenizer_source(given, model, VOCABULARY).facts.file == "tokenizer.model"


def test_none_found_names_the_places_looked_at(model, tmp_path):
    with pytest.raises(TokenizerError, match="run/tokenizer"):
        load_tokenizer_source(None, model, VOCABULARY)
    with pytest.raises(TokenizerError, match="-t"):
        load_tokenizer_source(tmp_path / "nowhere", model, VOCABULARY)


def test_several_are_not_guessed_among(model, sentencepiece_file):
    for name in ("a.model", "b.model"):
        shutil.copy(sentencepiece_file, model.parent / name)
    with pytest.raises(TokenizerError, match=r"a\.model, b\.model"):
        load_tokenizer_source(None, model, VOCABULARY)


def test_an_unreadable_one_is_refused(model):
    (model.parent / "tokenizer.model").write_bytes(b"not a protobuf")
    with pytest.raises(TokenizerError, match="not a readable"):
        load_tokenizer_source(None, model, VOCABULARY)


def test_a_smaller_vocabulary_than_the_models_is_legal(model, sentencepiece_file):
    size = load_tokenizer(sentencepiece_file).vocab_size
    assert load_tokenizer_source(sentencepiece_file, model, size).facts.vocab_size == size
    with pytest.raises(TokenizerError, match=f"{size} tokens, the model .* only {size - 1}"):
        load_tokenizer_source(sentencepiece_file, model, size - 1)


def test_golden_ids_are_the_runtimes_own(model, sentencepiece_file):
    tokenizer = load_tokenizer(sentencepiece_file)
    golden = load_tokenizer_source(sentencepiece_file, model, VOCABULARY).facts.golden
    assert golden == tuple((text, tuple(tokenizer.encode(text))) for text in GOLDEN_TEXTS)


def test_special_ids_of_sentencepiece_come_from_the_model(model, sentencepiece_file):
    """SentencePiece's defaults: <s> is 1, </s> is 2, and there is no padding (-1)."""
    facts = load_tokenizer_source(sentencepiece_file, model, VOCABULARY).facts
    assert (facts.bos_token_id, facts.eos_token_ids, facts.pad_token_id) == (1, (2,), None)


def test_what_a_tokenizer_puts_around_every_text_is_told(model, sentencepiece_file, byte_bpe_file, tmp_path):
    from tokenizers import Tokenizer, processors

    facts = load_tokenizer_source(sentencepiece_file, model, VOCABULARY).facts
    assert (facts.prefix_ids, facts.suffix_ids) == ((), ())
    tokenizer = Tokenizer.from_file(str(byte_bpe_file))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    ids = [tokenizer.token_to_id(name) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> <s> $A </s>", special_tokens=[("<s>", ids[0]), ("</s>", ids[1])]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    facts = load_tokenizer_source(tmp_path / "tokenizer.json", model, VOCABULARY).facts
    assert (facts.prefix_ids, facts.suffix_ids) == ((ids[0], ids[0]), (ids[1],))


@pytest.fixture
def json_model(tmp_path, byte_bpe_file):
    """A directory as transformers writes it, its tokenizer extended by some special tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(byte_bpe_file))
    tokenizer.add_special_tokens(["<s>", "</s>", "<|stop|>", "<pad>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    names = ("<s>", "</s>", "<|stop|>", "<pad>", "<|end|>")
    return tmp_path, {name: tokenizer.token_to_id(name) for name in names}


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def test_special_ids_of_tokenizer_json_come_from_the_models_configuration_first(json_model):
    directory, ids = json_model
    write_json(directory / "generation_config.json", {"eos_token_id": [ids["<|end|>"], ids["<|stop|>"]]})
    write_json(directory / "config.json", {"bos_token_id": ids["<s>"], "eos_token_id": ids["</s>"]})
    facts = load_tokenizer_source(None, directory, VOCABULARY).facts
    assert facts.eos_token_ids == (ids["<|end|>"], ids["<|stop|>"])
    assert facts.bos_token_id == ids["<s>"]


def test_then_from_the_names_the_tokenizer_gives_them(json_model):
    directory, ids = json_model
    names = {"bos_token": "<|end|>", "eos_token": {"content": "<|stop|>"}}
    write_json(directory / "tokenizer_config.json", names)
    facts = load_tokenizer_source(None, directory, VOCABULARY).facts
    assert (facts.bos_token_id, facts.eos_token_ids) == (ids["<|end|>"], (ids["<|stop|>"],))


def test_then_from_usual_names(json_model):
    directory, ids = json_model
    facts = load_tokenizer_source(None, directory, VOCABULARY).facts
    expected = (ids["<s>"], (ids["</s>"],), ids["<pad>"])
    assert (facts.bos_token_id, facts.eos_token_ids, facts.pad_token_id) == expected


def test_ids_outside_the_models_vocabulary_are_not_believed(json_model):
    directory, ids = json_model
    write_json(directory / "config.json", {"eos_token_id": 99_999})
    assert load_tokenizer_source(None, directory, VOCABULARY).facts.eos_token_ids == (ids["</s>"],)


def test_a_broken_configuration_file_is_refused(json_model):
    directory, _ = json_model
    (directory / "tokenizer_config.json").write_text("{")
    with pytest.raises(
        ExportError, match=r"tokenizer_config.json cannot be read as JSON .* Get the whole model again"
    ):
        load_tokenizer_source(None, directory, VOCABULARY)


def test_a_configuration_file_that_holds_something_else_is_passed_over(json_model):
    directory, ids = json_model
    write_json(directory / "special_tokens_map.json", ["eos_token"])
    assert load_tokenizer_source(None, directory, VOCABULARY).facts.eos_token_ids == (ids["</s>"],)
