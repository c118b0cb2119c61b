"""Whatever is passed to a public call, what it raises is ours, short and printable."""

import decimal
import fractions
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from llmbuilder.chat.interface import ChatInterface
from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.errors import LLMBuilderError
from llmbuilder.generator import TextGenerator
from llmbuilder.quality.compare import compare_generations
from llmbuilder.testing import fake_engine, random_rule
from llmbuilder.verify import verify_bundle
from llmbuilder.writing.writer import CreativeWriter

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"


class Unspeakable:
    def __repr__(self):
        raise RuntimeError


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def endless():
    value = []
    value.append(value)
    return value


ODD = {
    "more digits than Python writes": 10**5000,
    "more than a float holds": 10**350,
    "below all": -(10**350),
    "not a number": float("nan"),
    "infinite": float("inf"),
    "least float": 5e-324,
    "true": True,
    "none": None,
    "ten megabytes": "x" * 10_000_000,
    "texts of a megabyte": ["x" * 1_000_000] * 3,
    "empty": [],
    "nested": nested(100_000),
    "endless": endless(),
    "half a character": "\ud83e",
    "half characters": ["\ud83e"],
    "null": "\0",
    "control": "\x1b[31m",
    "bytes": b"x",
    "set": {1},
    "mapping": {},
    "mapping of numbers": {1: 2},
    "iterator": iter(()),
    "class": int,
    "unspeakable": Unspeakable(),
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 3),
    "complex": 1j,
    "time": datetime.now(tz=UTC),
    "array": np.arange(3),
    "empty array": np.array([]),
    "array of none": np.array(None),
    "structured": np.array([(1, 2)], dtype=[("a", int), ("b", int)])[0],
    "masked": np.ma.masked,
    "small number of NumPy": np.int8(1),
    "long double": np.longdouble(1) / 3,
    "truth of NumPy": np.bool_(True),
    "moment of NumPy": np.datetime64("2020"),
}
FEW = {"max_new_tokens": 2}
CALLS = {
    "prompt": lambda gen, odd: gen.complete(odd, max_new_tokens=2),
    "stream": lambda gen, odd: list(gen.stream(odd, max_new_tokens=2)),
    "prompts": lambda gen, odd: gen.generate_batch(odd, max_new_tokens=2),
    "ids": lambda gen, odd: gen.complete([odd], max_new_tokens=2),
    "config": lambda gen, odd: gen.complete("a", odd, max_new_tokens=2),
    "configs": lambda gen, odd: gen.complete_batch(["a"], odd, max_new_tokens=2),
    "requests": lambda gen, odd: list(gen.complete_each(odd)),
    "options of a request": lambda gen, odd: list(gen.complete_each([("a", odd)], max_new_tokens=2)),
    "score": lambda gen, odd: gen.score(odd),
    "model_path": lambda _, odd: TextGenerator(odd),
    "tokenizer_path": lambda _, odd: TextGenerator(DEMO, odd),
    "max_rows": lambda gen, odd: gen.loop(odd),
    "message": lambda gen, odd: ChatInterface(gen, **FEW).respond(odd),
    "conversation": lambda gen, odd: ChatInterface(gen, **FEW).respond("a", odd),
    "system_prompt": lambda gen, odd: ChatInterface(gen, system_prompt=odd, **FEW).respond("a"),
    "file of a conversation": lambda gen, odd: None if odd is None else ChatInterface(gen, **FEW).start(odd),
    "required_words": lambda gen, odd: ConstrainedGenerator(gen, required_words=odd),
    "forbidden_words": lambda gen, odd: ConstrainedGenerator(gen, forbidden_words=odd),
    "match": lambda gen, odd: ConstrainedGenerator(gen, match=odd),
    "ordered": lambda gen, odd: ConstrainedGenerator(gen, ordered=odd),
    "max_length": lambda gen, odd: ConstrainedGenerator(gen, required_words=["a"], max_length=odd).generate(
        "a"
    ),
    "constrained prompts": lambda gen, odd: ConstrainedGenerator(gen, required_words=["a"]).generate_batch(
        odd
    ),
    "style": lambda gen, odd: CreativeWriter(gen, style=odd),
    "story": lambda gen, odd: CreativeWriter(gen, **FEW).continue_story(odd, 5),
    "configs to compare": lambda gen, odd: compare_generations(gen, None, "a", odd, 1, **FEW),
    "prompt to compare": lambda gen, odd: compare_generations(gen, None, odd, [{}], 1, **FEW),
    "bundle to verify": lambda _, odd: verify_bundle(odd),
    "device": lambda _, odd: TextGenerator(DEMO, device=odd),
    "threads": lambda _, odd: TextGenerator(DEMO, threads=odd),
}


def check(call):
    try:
        call()
    except LLMBuilderError as error:
        message = str(error)
    else:
        return None
    assert len(message) <= 500
    assert "\x1b" not in message
    return message


@pytest.fixture(scope="module")
def generator():
    return TextGenerator.from_engine(fake_engine(random_rule()))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("option", generation_options())
def test_an_option_of_an_odd_value_works_or_is_named(generator, option, odd):
    message = check(lambda: generator.complete("ab", **{"max_new_tokens": 2, option: ODD[odd]}))
    assert message is None or option in message or "window" in message


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("call", CALLS)
def test_an_odd_argument_is_refused_with_an_error_of_ours(generator, call, odd):
    value = ODD[odd] if odd != "iterator" else iter(())
    check(lambda: CALLS[call](generator, value))


@pytest.mark.parametrize("name", [1, None, "x" * 10_000_000, "\x1b", ("a",), Unspeakable])
def test_an_option_of_an_odd_name_is_refused(name):
    assert check(lambda: GenerationConfig.merge({name: 1}))
