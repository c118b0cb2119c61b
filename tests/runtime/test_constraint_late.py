"""A grammar that begins late leaves the text before it free, and is complete once it has begun."""

import numpy as np
import pytest

from llmbuilder.constraints.late import LateRules
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.errors import ConstraintError
from llmbuilder.generator import ConstrainedPrompt, TextGenerator
from llmbuilder.testing import EOS, ByteTokenizer, fake_engine, random_rule, scripted

pytest.importorskip("llguidance")

FREE = "FREE: /(.|\\n)*/ & ~/(.|\\n)*#(.|\\n)*/\n"
WHOLE = f'start: FREE | begin "[" /[a-z]{{1,40}}/ "]"\nbegin[lazy]: /(.|\\n)*#/\n{FREE}'


@pytest.fixture
def rules():
    return LateRules(Vocabulary(ByteTokenizer().pieces()), WHOLE, f"start: FREE\n{FREE}", "call")


@pytest.fixture
def complete(rules):
    def run(rule, **options):
        generator = TextGenerator.from_engine(fake_engine(rule, context_length=512))
        (completion,) = generator.complete(ConstrainedPrompt("x", rules.start), **options)
        return completion

    return run


def test_what_has_begun_is_of_the_grammar(complete):
    assert complete(scripted("See #[abc]"), do_sample=False).text == "See #[abc]"
    assert complete(scripted("See #!!"), do_sample=False, max_new_tokens=60).text.startswith("See #[")


def test_it_need_not_begin(complete):
    assert complete(scripted("Nothing [here]."), do_sample=False).text == "Nothing [here]."


@pytest.mark.parametrize("most", range(1, 12))
def test_it_begins_only_where_there_is_room_to_end(complete, most):
    text = complete(scripted("A#[abcdefghi]"), do_sample=False, max_new_tokens=most).text
    _, mark, rest = text.partition("#")
    assert not mark or (rest.startswith("[") and rest.endswith("]"))


@pytest.mark.parametrize("seed", range(5))
def test_room_that_is_scarce_narrows_no_free_text(rules, seed):
    """As many tokens may come next near the end as anywhere: whole characters, but for what begins the grammar."""
    seen = []

    class Watched:
        def __init__(self, state):
            self.state = state

        def decide(self, logits):
            kept, state = self.state.decide(logits)
            seen.append(np.isfinite(kept))
            return kept, Watched(state)

        def advance(self, token):
            return Watched(self.state.advance(token))

        def missing(self):
            return self.state.missing()

    generator = TextGenerator.from_engine(fake_engine(random_rule(seed), context_length=512))
    prompt = ConstrainedPrompt("x", lambda prompt: Watched(rules.start(prompt)))
    generator.complete(prompt, seed=seed, max_new_tokens=6)
    letters = [byte for byte in range(1, 128) if byte != ord("#")]
    assert all(mask[letters].all() and mask[EOS] for mask in seen if mask.sum() > 90)
    assert seen[0].sum() > 90


def test_a_text_never_ends_inside_a_character(complete):
    for seed in range(20):
        text = complete(random_rule(seed, scale=1.0), seed=seed, max_new_tokens=5).text
        assert "\ufffd" not in text


def test_an_end_is_needed(complete):
    with pytest.raises(ConstraintError, match="matches a call ends with EOS"):
        complete(scripted("x"), early_stopping=False)
