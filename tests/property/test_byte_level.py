"""A byte-level text is joined from its tokens' bytes as the tokenizers library does it, half characters included."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from llmbuilder.tokenizer import load_tokenizer

_LOADED = {}


def tokenizer_of(path, tmp_path_factory):
    """The tokenizer of ``path`` with added tokens that its bytes could be taken for, and the library's own."""
    if path not in _LOADED:
        from tokenizers import Tokenizer

        backend = Tokenizer.from_file(str(path))
        backend.add_tokens(["caf\u00e9", "two words", "\u0120spaced", "\u65e5"])
        backend.add_special_tokens([AddedToken("<odd>", special=True)])
        target = tmp_path_factory.mktemp("added") / "tokenizer.json"
        backend.save(str(target))
        _LOADED[path] = load_tokenizer(target), Tokenizer.from_file(str(target))
    return _LOADED[path]


@settings(max_examples=300, derandomize=True)
@given(data=st.data())
def test_texts_are_those_of_the_library(byte_bpe_file, tmp_path_factory, data):
    ours, library = tokenizer_of(byte_bpe_file, tmp_path_factory)
    ids = data.draw(st.lists(st.integers(0, ours.vocab_size + 3), max_size=8))
    assert ours.decode(ids) == library.decode(ids, skip_special_tokens=True)
