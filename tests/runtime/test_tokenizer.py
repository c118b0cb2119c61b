import pytest

from llmbuilder.detokenizer import Detokenizer
from llmbuilder.errors import ConfigError, TokenizerError
from llmbuilder.testing import ByteTokenizer
from llmbuilder.tokenizer import JsonTokenizer, SentencePieceTokenizer, load_tokenizer

TEXTS = ["The fox sat.", "Łódź 🦊🦊 日本語", "naïve café", "a"]


@pytest.fixture(params=["bytes", "sentencepiece", "byte BPE"])
def tokenizer(request, sentencepiece_file, byte_bpe_file):
    if request.param == "bytes":
        return ByteTokenizer()
    return load_tokenizer(sentencepiece_file if request.param == "sentencepiece" else byte_bpe_file)


def stream(tokenizer, prompt_ids, new_ids):
    """The pieces of a continuation, the last one from the end of the stream."""
    detokenizer = Detokenizer(tokenizer)
    state, pieces = detokenizer.start(prompt_ids), []
    for token in new_ids:
        piece, state = detokenizer.advance(state, token)
        pieces.append(piece)
    return [*pieces, detokenizer.finish(state)]


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_encoding_and_decoding(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == text


def test_no_text_has_no_ids(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_joined_are_the_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert "".join(stream(tokenizer, [], ids)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_holds_half_a_character(tokenizer, text):
    assert all(
        "\N{REPLACEMENT CHARACTER}" not in piece for piece in stream(tokenizer, [], tokenizer.encode(text))
    )


def test_a_character_of_several_tokens_comes_whole_with_its_last():
    assert stream(ByteTokenizer(), [], "a🦊b".encode()) == ["a", "", "", "", "🦊", "b", ""]


def test_half_a_character_at_the_end_is_shown_as_such():
    assert stream(ByteTokenizer(), [], "a🦊".encode()[:3]) == ["a", "", "", "\N{REPLACEMENT CHARACTER}"]


def test_the_space_before_a_first_word_is_kept(sentencepiece_file):
    tokenizer = load_tokenizer(sentencepiece_file)
    prompt, whole = tokenizer.encode("The fox"), tokenizer.encode("The fox sat down.")
    new = whole[len(prompt) :]
    assert tokenizer.decode(new) == "sat down."
    assert "".join(stream(tokenizer, prompt, new)) == " sat down."


def test_a_space_alone_is_kept_between_words(sentencepiece_file):
    tokenizer = load_tokenizer(sentencepiece_file)
    word, space = tokenizer.encode("the"), tokenizer.encode("x")[:1]
    assert tokenizer.decode([*word, *space, *word]) == "the  the"
    assert "".join(stream(tokenizer, word, [*space, *word])) == "  the"


def test_control_tokens_have_no_text(sentencepiece_file):
    tokenizer = load_tokenizer(sentencepiece_file)
    bos, eos = 1, 2
    assert tokenizer.decode([bos, *tokenizer.encode("The fox"), eos]) == "The fox"
    assert stream(tokenizer, [], [bos, eos]) == ["", "", ""]


def test_sentencepiece_never_reads_control_tokens_in_text(sentencepiece_file):
    ids = load_tokenizer(sentencepiece_file).encode("<s>The fox</s>")
    assert not {1, 2} & set(ids)


def test_json_special_tokens_are_parsed_only_if_asked(byte_bpe_file):
    tokenizer = load_tokenizer(byte_bpe_file)
    assert tokenizer.encode("a<|end|>")[-1] == 0
    literal = tokenizer.encode("a<|end|>", parse_special=False)
    assert 0 not in literal
    assert tokenizer.decode(literal) == "a<|end|>"


def test_added_tokens_that_are_not_special_are_parsed_only_if_asked(byte_bpe_file, tmp_path):
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(byte_bpe_file))
    backend.add_tokens(["<think>", "    ", "fox trot"])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    text = "a<think>    fox trot<|end|>"
    think, spaces, words = tokenizer.encode("<think>    fox trot")
    literal = tokenizer.encode(text, parse_special=False)
    assert [literal.count(i) for i in (think, spaces, words, 0)] == [0, 1, 1, 0]
    assert tokenizer.decode(literal) == text
    assert tokenizer.find_control(text) == [(1, 8, think, False), (20, 27, 0, True)]


def test_control_tokens_that_a_unigram_model_has_as_words_stay_text(tmp_path):
    from tokenizers import Tokenizer, models

    words = [("<unk>", 0.0), ("</s>", -1.0), ("</", -1.5), *((c, -2.0) for c in "</s>ab")]
    backend = Tokenizer(models.Unigram(words, 0, False))
    backend.add_special_tokens(["<unk>", "</s>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.encode("a</s>") == [7, 1]
    assert tokenizer.encode("a</s></s>b", parse_special=False) == [7, *[3, 4, 5, 6] * 2, 8]
    assert tokenizer.encode("</\N{SNOWMAN}", parse_special=False) == [2, 0]


def test_special_tokens_have_no_text(byte_bpe_file):
    tokenizer = load_tokenizer(byte_bpe_file)
    assert tokenizer.decode([0, *tokenizer.encode("The fox"), 0]) == "The fox"


def test_what_the_files_post_processor_adds_is_added(byte_bpe_file, tmp_path):
    from tokenizers import Tokenizer, processors

    backend = Tokenizer.from_file(str(byte_bpe_file))
    backend.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 0)]
    )
    backend.enable_truncation(2)
    backend.enable_padding(length=64)
    backend.save(str(tmp_path / "tokenizer.json"))
    ids = load_tokenizer(tmp_path / "tokenizer.json").encode("The fox sat down.")
    assert ids == [*load_tokenizer(byte_bpe_file).encode("The fox sat down."), 0]


def test_the_vocabulary_counts_added_tokens(byte_bpe_file, tmp_path):
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(byte_bpe_file))
    before = load_tokenizer(byte_bpe_file).vocab_size
    backend.add_tokens(["<new>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json").vocab_size == before + 1


PIECES = {"a": 0, "b": 7, "ab": 3, "<unk>": 9}


@pytest.mark.parametrize(
    "model",
    [
        lambda models: models.BPE(PIECES, [("a", "b")]),
        lambda models: models.WordLevel(PIECES, "<unk>"),
        lambda models: models.WordPiece(PIECES),
        lambda models: models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0), ("a", -3.0)], 0, False),
        lambda models: models.BPE({}, []),
    ],
    ids=["BPE", "WordLevel", "WordPiece", "Unigram", "empty"],
)
@pytest.mark.parametrize("added", [[], ["<unk>"], ["a", "<new>", "<newer>"]], ids=len)
def test_the_vocabulary_ends_behind_the_highest_id_that_the_library_knows(tmp_path, model, added):
    from tokenizers import Tokenizer, models

    backend = Tokenizer(model(models))
    backend.add_tokens(added)
    backend.save(str(tmp_path / "tokenizer.json"))
    known = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab(with_added_tokens=True)
    assert load_tokenizer(tmp_path / "tokenizer.json").vocab_size == 1 + max(known.values(), default=-1)


def test_ids_that_only_the_model_knows_have_no_text(tokenizer):
    ids = tokenizer.encode("The fox")
    assert tokenizer.decode([*ids, tokenizer.vocab_size, tokenizer.vocab_size + 100]) == "The fox"


def test_the_kind_is_told_by_the_files_name(sentencepiece_file, byte_bpe_file):
    assert isinstance(load_tokenizer(sentencepiece_file), SentencePieceTokenizer)
    assert isinstance(load_tokenizer(byte_bpe_file), JsonTokenizer)


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_a_damaged_file_is_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x00not a tokenizer")
    with pytest.raises(TokenizerError, match="not a readable") as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"no tokenizer at .*gone\.model"):
        load_tokenizer(tmp_path / "gone.model")


def test_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("a")
    with pytest.raises(TokenizerError, match=r"neither a SentencePiece .* nor a tokenizer\.json"):
        load_tokenizer(tmp_path / "vocab.txt")


def test_only_control_tokens_without_text_are_spelled(tokenizer):
    for token in range(tokenizer.vocab_size):
        spelled = tokenizer.spelling(token)
        assert spelled in ("", tokenizer.name(token))
        if spelled:
            assert tokenizer.decode([token]) == ""
    assert tokenizer.spelling(tokenizer.encode("a")[-1]) == ""


@pytest.mark.parametrize("kind", ["sentencepiece", "byte BPE"])
@pytest.mark.parametrize("ids", [[-1], [2**70], ["x"], [None]])
def test_whatever_a_library_raises_is_our_error(kind, ids, sentencepiece_file, byte_bpe_file):
    path = sentencepiece_file if kind == "sentencepiece" else byte_bpe_file
    tokenizer = load_tokenizer(path)
    if ids == [2**70] and kind == "sentencepiece":
        assert tokenizer.decode(ids) == ""
    else:
        with pytest.raises(
            TokenizerError, match=rf"{path.name} failed as a tokenizer \(.*export the model again"
        ):
            tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["sentencepiece", "byte BPE"])
@pytest.mark.parametrize("text", ["half \ud83e", None, b"x"])
def test_what_is_no_text_is_refused(kind, text, sentencepiece_file, byte_bpe_file):
    tokenizer = load_tokenizer(sentencepiece_file if kind == "sentencepiece" else byte_bpe_file)
    for encode in (tokenizer.encode, lambda text: tokenizer.encode(text, parse_special=False)):
        with pytest.raises(ConfigError, match=r"^The text "):
            encode(text)


class Panic(BaseException):
    """As Rust's panics come: no exception, and known by name alone."""


Panic.__name__ = "PanicException"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Exception("x"), TokenizerError),
        (Panic("x"), TokenizerError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_panics_are_failures_and_interrupts_are_not(byte_bpe_file, error, expected):
    class Failing:
        def encode(self, *_, **__):
            raise error

    tokenizer = load_tokenizer(byte_bpe_file)
    tokenizer._parsing = Failing()
    with pytest.raises(expected):
        tokenizer.encode("a")
