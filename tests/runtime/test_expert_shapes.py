"""Mixtures of experts are taken in the one form that exports write, with weights that fit each other."""

import pytest

from llmbuilder.bundle.operators import OPERATORS
from llmbuilder.bundle.shapes import Call, ShapeError, Value

KIND = {"k": 1, "activation_type": b"swiglu", "swiglu_fusion": 1, "normalize_routing_weights": 1}
BLOCKS = KIND | {"expert_weight_bits": 4, "block_size": 32}
MOE = {"rows": (6, 64), "choice": (6, 4), "first": (4, 96, 64), "first_bias": None, "second": (4, 64, 48)}
QMOE = {
    "rows": (6, 64), "choice": (6, 4), "first": (4, 128, 32), "scales": (4, 128, 2), "first_bias": None,
    "second": (4, 64, 32), "scales_2": (4, 64, 2), "second_bias": None, "third": None, "scales_3": None,
    "third_bias": None, "zeros": (4, 128, 1), "zeros_2": (4, 64, 1),
}  # fmt: skip


def results(name, shapes, attributes):
    inputs = [None if shape is None else Value(shape) for shape in shapes.values()]
    return OPERATORS["com.microsoft", name].shape(Call(inputs, attributes, 1))


def test_each_row_gives_one_and_room_for_the_gates_is_counted():
    found = results("MoE", MOE, KIND)
    assert [each.shape for each in found] == [(6, 64), (6, 96)]
    assert results("QMoE", QMOE, BLOCKS)[0].shape == (6, 64)


@pytest.mark.parametrize(
    ("changed", "attributes"),
    [
        ({"rows": (6, 63)}, {}),
        ({"rows": (1, 6, 64)}, {}),
        ({"choice": (6, 5)}, {}),
        ({"choice": (5, 4)}, {}),
        ({"first": (4, 95, 64)}, {}),
        ({"second": (3, 64, 48)}, {}),
        ({"first": (4, 0, 64), "second": (4, 64, 0)}, {}),
        ({"first_bias": (4, 48)}, {}),
        ({}, {"k": 2}),
        ({}, {"activation_type": b"relu"}),
        ({}, {"swiglu_fusion": 0}),
    ],
)
def test_other_mixtures_are_refused(changed, attributes):
    with pytest.raises(ShapeError):
        results("MoE", MOE | changed, KIND | attributes)


@pytest.mark.parametrize(
    ("changed", "attributes"),
    [
        ({"scales": (4, 128, 3)}, {}),
        ({"scales_2": (4, 64)}, {}),
        ({"zeros": (4, 128, 2)}, {}),
        ({"zeros_2": None}, {}),
        ({"third": (4, 64, 32)}, {}),
        ({"second": ()}, {}),
        ({"more": (1,)}, {}),
        ({}, {"expert_weight_bits": 2}),
        ({}, {"expert_weight_bits": 8}),
        ({}, {"block_size": 16}),
    ],
)
def test_other_blocks_are_refused(changed, attributes):
    with pytest.raises(ShapeError):
        results("QMoE", QMOE | changed, BLOCKS | attributes)


@pytest.mark.parametrize(
    ("name", "shapes", "numbers", "attributes"),
    [
        ("TopK", [(2, 4)], (5,), {}),
        ("TopK", [(2, 4)], (-1,), {}),
        ("GatherElements", [(2, 4), (2,)], None, {"axis": 1}),
        ("GatherElements", [(2, 4), (3, 9)], None, {"axis": 1}),
        ("ScatterElements", [(2, 4), (2, 9), (2, 8)], None, {"axis": 1}),
    ],
)
def test_choices_that_do_not_fit_are_refused(name, shapes, numbers, attributes):
    inputs = [Value(shape) for shape in shapes]
    if numbers is not None:
        inputs.append(Value((1,), numbers))
    with pytest.raises(ShapeError):
        OPERATORS["", name].shape(Call(inputs, attributes, 1))


def test_choices_have_the_shape_of_what_is_chosen():
    top = OPERATORS["", "TopK"].shape(Call([Value((2, 4)), Value((1,), (3,))], {"axis": -1}, 2))
    assert [each.shape for each in top] == [(2, 3), (2, 3)]
    assert OPERATORS["", "GatherElements"].shape(Call([Value((2, 4)), Value((2, 9))], {"axis": 1}, 1)) == [
        Value((2, 9))
    ]
