import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbuilder.detokenizer import Detokenizer
from llmbuilder.testing import ByteTokenizer
from llmbuilder.tokenizer import load_tokenizer

often = settings(max_examples=150, derandomize=True)

HALF = "\N{REPLACEMENT CHARACTER}"


@pytest.fixture(scope="session", params=["bytes", "sentencepiece", "byte BPE"])
def tokenizer(request, sentencepiece_file, byte_bpe_file):
    if request.param == "bytes":
        return ByteTokenizer()
    return load_tokenizer(sentencepiece_file if request.param == "sentencepiece" else byte_bpe_file)


def ids(tokenizer):
    return st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12)


def pieces(tokenizer, prompt, new):
    """The text after each new token, then what the end releases."""
    detokenizer = Detokenizer(tokenizer)
    state = detokenizer.start(prompt)
    for token in new:
        piece, state = detokenizer.advance(state, token)
        yield piece
    yield detokenizer.finish(state)


@often
@given(st.data())
def test_joined_pieces_are_what_the_new_ids_add_to_the_prompts_text(tokenizer, data):
    prompt, new = data.draw(ids(tokenizer)), data.draw(ids(tokenizer))
    before, after = tokenizer.decode(prompt), tokenizer.decode([*prompt, *new])
    text = "".join(pieces(tokenizer, prompt, new))
    # Where the prompt ends in half a character, the new ids may change the end of its text.
    unchanged = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    assert text == after[unchanged:]


@often
@given(st.data())
def test_tokens_together_add_what_they_add_one_by_one(tokenizer, data):
    prompt, new = data.draw(ids(tokenizer)), data.draw(ids(tokenizer))
    detokenizer, shown, rest = Detokenizer(tokenizer), [], new
    state = detokenizer.start(prompt)
    while rest:
        count = data.draw(st.integers(1, len(rest)))
        piece, state = detokenizer.advance_by(state, rest[:count])
        shown, rest = [*shown, piece], rest[count:]
    assert "".join([*shown, detokenizer.finish(state)]) == "".join(pieces(tokenizer, prompt, new))


@often
@given(st.data(), st.text(max_size=8), st.text(max_size=8))
def test_of_valid_text_no_piece_holds_half_a_character(tokenizer, data, prompt, text):
    whole = tokenizer.encode(prompt + text)
    known = data.draw(st.integers(0, len(whole)))
    if HALF in tokenizer.decode(whole[:known]) or HALF in tokenizer.decode(whole):
        return
    shown = list(pieces(tokenizer, whole[:known], whole[known:]))
    assert HALF not in "".join(shown)
