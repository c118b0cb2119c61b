"""One request never stops all: what is too much is refused before anything is made for it."""

import json

import pytest

from llmbuilder.chat.interface import ChatInterface
from llmbuilder.config import GenerationConfig
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.errors import ConfigError, ConstraintError, ContextOverflowError
from llmbuilder.files.jsonl import generate_file
from llmbuilder.generator import TextGenerator
from llmbuilder.quality.compare import compare
from llmbuilder.testing import ByteTokenizer, fake_engine, random_rule
from llmbuilder.writing.writer import CreativeWriter

WINDOW = 64
MOST = 64 * WINDOW


class Counting(ByteTokenizer):
    """Counts the characters that it encodes."""

    def __init__(self):
        self.encoded = 0

    def encode(self, text, *arguments, **options):
        self.encoded += len(text)
        return super().encode(text, *arguments, **options)


@pytest.fixture
def engine():
    engine = fake_engine(random_rule(), context_length=WINDOW)
    object.__setattr__(engine, "tokenizer", Counting())
    return engine


@pytest.fixture
def generator(engine):
    return TextGenerator.from_engine(engine, GenerationConfig(max_new_tokens=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 1025}, "num_beams must be a whole number from 1 to 1024, got 1025"),
        ({"num_beams": 10**6}, "num_beams must be a whole number from 1 to 1024, got 1000000"),
        ({"num_return_sequences": 10**9}, "num_return_sequences must be a whole number from 1 to 1024"),
        ({"stop_strings": ["x" * 500_001]}, "500000 characters at most in all"),
        ({"stop_strings": ["stop!"] * 100_001}, "500000 characters at most in all"),
    ],
)
def test_options_have_bounds(options, message):
    with pytest.raises(ConfigError, match=message):
        GenerationConfig(**options)


def test_as_many_rows_as_are_allowed_are_decoded(generator):
    assert len(generator.complete("a", num_return_sequences=1024)) == 1024


def test_the_prompts_text_is_decoded_once_for_all_its_rows(engine):
    decoded = []
    engine.tokenizer.decode = lambda ids: decoded.append(len(ids)) or ""
    TextGenerator.from_engine(engine).complete("a" * 50, num_return_sequences=8, max_new_tokens=1)
    assert decoded.count(50) == 1


@pytest.mark.parametrize("truncate", [False, True])
def test_a_prompt_of_more_characters_than_any_text_of_the_window_is_not_encoded(generator, engine, truncate):
    with pytest.raises(ContextOverflowError, match=rf"has {MOST + 1} characters.* more than {MOST}\."):
        generator.generate("x" * (MOST + 1), truncate_prompt=truncate)
    with pytest.raises(ContextOverflowError, match="characters"):
        generator.score("x" * (MOST + 1))
    assert engine.tokenizer.encoded == 0


def test_a_prompt_of_as_many_characters_is_counted_in_tokens(generator):
    with pytest.raises(ContextOverflowError, match=f"has {MOST} tokens"):
        generator.generate("x" * MOST)
    (completion,) = generator.complete("x" * MOST, truncate_prompt=True)
    assert completion.truncated_tokens == MOST - WINDOW


def test_long_tokens_make_long_prompts(engine):
    engine.tokenizer.pieces = lambda: [b"x" * 100]
    with pytest.raises(ContextOverflowError, match=r"6401 characters.* more than 6400"):
        TextGenerator.from_engine(engine).generate("x" * 6401)
    with pytest.raises(ContextOverflowError, match="6400 tokens"):
        TextGenerator.from_engine(engine).generate("x" * 6400)


def test_a_chats_message_of_megabytes_is_not_encoded_nor_an_old_turn(engine):
    chat = ChatInterface(TextGenerator.from_engine(engine), max_new_tokens=2)
    engine.tokenizer.encoded = 0
    for truncate in (False, True):
        with pytest.raises(ContextOverflowError, match="user_input has 5000000 characters"):
            chat.respond("x" * 5_000_000, truncate_prompt=truncate)
    old = [{"user": "x" * 5_000_000, "assistant": "y"}, {"user": "a", "assistant": "b"}]
    chat.respond("c", old)
    assert chat.dropped_turns >= 1
    assert engine.tokenizer.encoded < 10_000


def test_a_line_that_asks_too_much_fails_by_itself(generator, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    wrong = [
        {"num_beams": 1_000_000},
        {"stop_strings": ["x" * 1_000_000]},
        {"prompt": "x" * 1_000_000},
        {"prompt": ["x"]},
        {"prompt": None},
    ]
    lines = [{"prompt": "a"}, *({"prompt": "b"} | line for line in wrong), {"prompt": "c"}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert generate_file(generator, source, target).errors == len(wrong)
    written = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert ["text" in line for line in written] == [True, *[False] * len(wrong), True]
    assert all(len(line.get("error", "")) <= 500 for line in written)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"required_words": ["word"] * 1001}, r"required_words may be 1000 words .* got 1001"),
        ({"forbidden_words": ["word"] * 100_001}, r"forbidden_words may be 100000 words .* got 100001"),
        ({"forbidden_words": ["x" * 500_001]}, "500000 characters in all, got 1 of 500001"),
    ],
)
def test_constraints_have_bounds(generator, words, message):
    with pytest.raises(ConfigError, match=message):
        ConstrainedGenerator(generator, **words)


@pytest.mark.parametrize("name", ["max_new_tokens", "min_new_tokens", "max_length", "top_k", "batch_size"])
def test_counts_are_numbers_that_arrays_hold(name):
    with pytest.raises(ConfigError, match=rf"{name} must be a whole number from [01] to 1000000000"):
        GenerationConfig(**{name: 10**350})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logprobs": 1001}, "logprobs must be a whole number from 0 to 1000, or None, got 1001"),
        (
            {"eos_token_id": [1] * 1025},
            "eos_token_id must be a token id, at least 0, or a list of 1 to 1024 of them",
        ),
        ({"exponential_decay_length_penalty": (10**350, 1.5)}, r"whole number from 0 to 1000000000 and"),
        ({"num_beam_groups": 10**350}, "num_beam_groups must be a whole number from 1 to 1024"),
    ],
)
def test_lists_for_each_token_have_bounds(options, message):
    with pytest.raises(ConfigError, match=message):
        GenerationConfig(**options)


@pytest.mark.parametrize(
    "options", [{"max_new_tokens": 10**9}, {"top_k": 10**9}, {"prompt_lookup_num_tokens": 10**9}]
)
def test_the_largest_numbers_are_used(generator, options):
    assert generator.complete("abc", **{"max_time": 0.05, "context_overflow": "stop"} | options)


def test_writing_has_bounds(generator):
    writer = CreativeWriter(generator)
    with pytest.raises(ConfigError, match="length must be a whole number from 1 to 100000, got 100000"):
        writer.continue_story("Once", 10**350)
    with pytest.raises(ConfigError, match="turns must be a whole number from 1 to 1000, got 1001"):
        writer.generate_dialogue("Tom and Lily", 1001)


def test_a_comparison_has_bounds(generator):
    with pytest.raises(ConfigError, match="num_samples must be a whole number from 1 to 10000"):
        compare(generator, "Once", [{}], num_samples=10**350)


@pytest.mark.parametrize("regex", ["(a{1000}){1000}", "((a{100}){100}){100}", "(a{1000}b){1000}"])
def test_a_short_pattern_of_many_parts_is_refused_with_advice(generator, regex):
    pytest.importorskip("llguidance")
    with pytest.raises(ConstraintError, match="fewer repetitions"):
        ConstrainedGenerator(generator, regex=regex).generate("a")
