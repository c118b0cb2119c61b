"""Every rule of shapes gives values within bounds, or says in our words why there are none."""

import math
from random import Random

import pytest

from llmbuilder.bundle.operators import INTS, OPERATORS, F, G, I, S
from llmbuilder.bundle.shapes import MOST_DIMENSIONS, Call, ShapeError, Value

CALLS = 300  # of each operator
SIZES = (0, 1, 1, 2, 3, 4, 5, 16)
NUMBERS = (0, 1, -1, 2, 3, -2, 5, 8, 9, 16, 1 << 40, 1 << 62, -(1 << 62))


def value(random):
    """A shape of few dimensions, with numbers that may be known; or what is left out."""
    if random.random() < 0.1:
        return None
    shape = tuple(random.choices(SIZES, k=random.choice((0, 1, 2, 3, 4, 4, 5))))
    known = len(shape) < 2 and random.random() < 0.6
    return Value(shape, tuple(random.choices(NUMBERS, k=math.prod(shape))) if known else None)


def attribute(kind, random):
    choices = {
        I: random.choice(NUMBERS),
        F: 0.5,
        S: b"x",
        G: {},
        INTS: random.choices(range(-1, 4), k=random.randrange(4)),
    }
    return choices[kind]


@pytest.mark.parametrize("name", OPERATORS, ids="".join)
def test_any_call_has_values_within_bounds_or_is_refused(name):
    operator = OPERATORS[name]
    for number in range(CALLS):
        random = Random(f"{name}:{number}")
        attributes = {
            each: attribute(kind, random)
            for each, kind in operator.attributes.items()
            if random.random() < 0.6
        }
        call = Call([value(random) for _ in range(random.randrange(8))], attributes, random.randrange(4))
        try:
            found = operator.shape(call)
        except ShapeError:
            continue
        assert all(len(each.shape) <= MOST_DIMENSIONS and min(each.shape, default=0) >= 0 for each in found)


@pytest.mark.parametrize(
    ("domain", "name", "inputs", "attributes"),
    [
        ("", "Concat", [Value((2,)), Value(())], {"axis": 0}),
        ("com.microsoft", "GatherBlockQuantized", [Value((3,)), Value(())], {}),
        ("com.microsoft", "GatherBlockQuantized", [Value((3, 4)), Value((2,))], {"bits": 16}),
    ],
)
def test_ranks_that_do_not_fit_and_unknown_bits_are_refused(domain, name, inputs, attributes):
    with pytest.raises(ShapeError):
        OPERATORS[domain, name].shape(Call(inputs, attributes, 1))
