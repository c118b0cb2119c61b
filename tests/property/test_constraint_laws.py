"""Words that are looked for together are found as each is by itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from llmbuilder.constraints.forbidden import Forbidden
from llmbuilder.constraints.patterns import fold, patterns
from llmbuilder.constraints.reader import Place, Reader
from llmbuilder.constraints.vocabulary import Vocabulary

often = settings(max_examples=200, derandomize=True, deadline=None)
texts = st.text("ab -é\n", max_size=12)
words = st.lists(st.text("ab -é", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=6)
PIECES = [a + b for a in ("", " ", "a", "b", "-", "é") for b in ("a", "b", " ", "-", "ab ", "é", "ba-a")]


def all_patterns(words, *, whole):
    return [pattern for word in words for pattern in patterns(word, whole=whole)]


@often
@given(texts, words, st.booleans())
def test_a_reader_finds_what_each_pattern_finds(text, words, whole):
    reader = Reader(all_patterns(words, whole=whole))
    end, found = reader.read(Place(), fold(text))
    expected = {n for n, pattern in enumerate(reader.patterns) if pattern.found(fold(text))}
    assert {*found, *end.ended} == expected


@often
@given(texts, texts, words, st.booleans())
def test_the_tokens_that_complete_a_word_or_open_the_text_are_those_that_reading_finds(
    prompt, text, words, whole
):
    vocabulary = Vocabulary([piece.encode() for piece in dict.fromkeys(PIECES)])
    forbidden = Forbidden(vocabulary, all_patterns(words, whole=whole))
    start = forbidden.start(prompt)
    spot = start._replace(place=forbidden.reader.read(start.place, fold(text))[0])
    completed, opened = forbidden.completed_by(spot), forbidden.opened_by(spot)
    for token, piece in vocabulary.texts.items():
        end, found = forbidden.reader.read(spot.place, piece)
        assert completed[token] == bool(found)
        assert (token in opened) == (bool(end.ended) and not found)


def test_what_tokens_do_is_searched_for_once_however_many_words_there_are():
    class Counting(Vocabulary):
        searches = 0

        def search(self, source):
            self.searches += 1
            return super().search(source)

    vocabulary = Counting([bytes([byte]) for byte in range(256)])
    forbidden = Forbidden(vocabulary, all_patterns((f"word{n}" for n in range(5000)), whole=True))
    spot = forbidden.start("")
    for byte in b"a word12 word4":
        forbidden.completed_by(spot)
        forbidden.leading_on(spot)
        spot = forbidden.advance(spot, byte)
    assert vocabulary.searches == 1
    assert len(spot.place.nodes) == 1
    assert len(spot.place.ended) == 1
