"""Whatever is passed to a public call, what it raises is ours, short and printable."""

import decimal
import fractions
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.errors import LLMBuilderError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule

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
    "texts of ten megabytes": ["x" * 10_000_000] * 3,
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
    if (call, odd) == ("requests", "iterator"):
        pytest.skip("is a stream of no requests")
    check(lambda: CALLS[call](generator, ODD[odd]))


@pytest.mark.parametrize("name", [1, None, "x" * 10_000_000, "\x1b", ("a",), Unspeakable])
def test_an_option_of_an_odd_name_is_refused(name):
    assert check(lambda: GenerationConfig.merge({name: 1}))
