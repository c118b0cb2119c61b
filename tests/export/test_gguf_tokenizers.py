"""What of a GGUF file's tokenizer would not be as llama.cpp has it is refused; the proof is ``interop/gguf_ids``."""

import pytest
from gguf import GGUFWriter, TokenType

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.gguf_tokenizers import special_ids, tokenizer_of
from llmbuilder_export.sources.ggufs import read_gguf

NORMAL, CONTROL, UNKNOWN, BYTE = TokenType.NORMAL, TokenType.CONTROL, TokenType.UNKNOWN, TokenType.BYTE
USER_DEFINED = TokenType.USER_DEFINED
FIRST = [
    ("<unk>", UNKNOWN),
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    *((f"<0x{b:02X}>", BYTE) for b in range(256)),
]


@pytest.fixture
def file(tmp_path):
    """Write a SentencePiece vocabulary of pieces with scores, or a byte-level one, and read it."""

    def make(pieces=(), *, kind="llama", name=None, merges=None, found_first=(), **facts):
        tokens = [*FIRST, *((piece, NORMAL) for piece, _ in pieces)]
        tokens += [(token, USER_DEFINED) for token in found_first]
        writer = GGUFWriter(tmp_path / "v.gguf", "llama")
        if name:
            writer.add_name(name)
        writer.add_tokenizer_model(kind)
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([token for token, _ in tokens])
        writer.add_token_types([kind for _, kind in tokens])
        writer.add_token_scores(
            [0.0] * len(FIRST) + [score for _, score in pieces] + [0.0] * len(found_first)
        )
        if merges is not None:
            writer.add_token_merges(merges)
        for key, value in facts.items():
            (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(
                f"tokenizer.ggml.{key}", value
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return read_gguf(tmp_path / "v.gguf")

    return make


LETTERS = [(letter, -100.0 - at) for at, letter in enumerate("▁ab->")]


def test_ids_that_a_sentencepiece_file_does_not_say_are_llama_cpps(file):
    found = file([*LETTERS, ("▁a", -1.0)])
    assert tokenizer_of(found).encode("a").tokens == ["<s>", "▁a"]
    assert special_ids(found) == {"bos_token_id": 1, "eos_token_id": 2}


def test_a_text_that_should_begin_with_nobody_knows_what_is_refused(file):
    with pytest.raises(ExportError, match=r"does not say which: there is no tokenizer\.ggml\.bos_token_id"):
        tokenizer_of(file([*LETTERS, ("ab", 0.0)], kind="gpt2", merges=["a b"], add_bos_token=True))


def test_the_unknown_token_is_read_out_of_a_text_as_control_tokens_are(file):
    tokenizer = tokenizer_of(file([*LETTERS, ("ab", 0.0)], kind="gpt2", merges=["a b"]))
    assert tokenizer.encode("a<unk>b").tokens == ["a", "<unk>", "b"]


def test_of_two_equal_merges_the_first_counts(file):
    pieces = [*LETTERS, ("ab", 0.0), ("ba", 0.0)]
    tokenizer = tokenizer_of(file(pieces, kind="gpt2", merges=["a b", "b a", "a b"]))
    assert tokenizer.encode("aba").tokens == ["ab", "a"]


def test_two_tokens_of_one_score_are_refused(file):
    """llama.cpp merges the left one first: ``a-b`` to ``a-`` and ``b``, whatever is in the library's list first."""
    with pytest.raises(ExportError, match="gives -b and a- one score, by which texts cannot be merged"):
        tokenizer_of(file([*LETTERS, ("a-", -1.0), ("-b", -1.0)]))


def test_two_tokens_of_one_score_are_taken_if_neither_is_merged_to(file):
    assert (
        tokenizer_of(file([*LETTERS, ("unused 1", -1.0), ("unused 2", -1.0)])).encode("a").tokens[-1] == "a"
    )


def test_runs_of_one_character_may_have_one_score(file):
    runs = [*LETTERS, *(("▁" * n, -1e9) for n in range(2, 17))]
    lengths = [len(token) for token in tokenizer_of(file(runs)).encode(" " * 36).tokens[1:]]
    assert lengths == [16, 16, 5]


def test_a_token_with_a_letter_that_is_no_token_is_refused(file):
    with pytest.raises(ExportError, match="has the token éa, but none for its letter é"):
        tokenizer_of(file([*LETTERS, ("éa", -1.0)]))


def test_models_whose_control_tokens_take_in_white_space_are_refused(file):
    with pytest.raises(
        ExportError, match="a model named Phi-3 mini, whose control tokens take in white space"
    ):
        tokenizer_of(file(LETTERS, name="Phi-3 mini"))


@pytest.mark.parametrize("tokens", [("<a", "a>>"), ("<a", "a>"), ("<a>", "<a", "a>b>")])
def test_tokens_of_which_one_begins_in_another_are_refused(file, tokens):
    """llama.cpp takes the longest of a text first, the library the leftmost."""
    with pytest.raises(ExportError, match="one begins before the other ends, where"):
        tokenizer_of(file(LETTERS, found_first=tokens))


@pytest.mark.parametrize("tokens", [["\n" * n for n in range(1, 32)], ["<a>", "<a", "c"], ["aba"]])
def test_tokens_that_are_the_same_from_the_left_and_by_length_are_taken(file, tokens):
    text = "".join(tokens) * 2
    found = tokenizer_of(file(LETTERS, found_first=tokens)).encode(text, add_special_tokens=False).tokens
    expected, rest = [], text
    while rest:  # longest first and leftmost first
        expected.append(next(t for t in sorted(tokens, key=len, reverse=True) if rest.startswith(t)))
        rest = rest.removeprefix(expected[-1])
    assert [piece for piece in found if piece != "▁"] == expected
