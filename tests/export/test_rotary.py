"""Which rotations become an operator: what models' code does with their angles is tried out."""

import families
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmbuilder_export.networks.rotary import find_rotary

WINDOW = families.WINDOW


def rotary_of(name):
    return find_rotary(AutoModelForCausalLM.from_config(families.configure(name)), WINDOW)


@pytest.mark.parametrize(
    ("name", "pairs", "interleaved"),
    [
        pytest.param("llama", 8, False, id="angles twice"),
        pytest.param("gpt_oss", 8, False, id="angles once"),
        pytest.param("deepseek_v2", 4, True, id="angles as complex numbers"),
    ],
)
def test_angles_are_tabulated_in_each_form(name, pairs, interleaved):
    tables = rotary_of(name).tables
    assert tables.cos.shape == tables.sin.shape == (WINDOW, pairs)
    assert tables.interleaved == interleaved
    assert torch.allclose(tables.cos**2 + tables.sin**2, (tables.cos[0] ** 2).expand(WINDOW, -1), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("granite_swa+rotated by layer", id="angles of each layer"),
        pytest.param("glm", id="neighbours are pairs"),
        pytest.param("gpt2", id="no rotation"),
    ],
)
def test_what_one_table_cannot_say_is_left_as_it_is(name):
    assert rotary_of(name) is None
