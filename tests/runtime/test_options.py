"""Options say everything about themselves at the field where they stand."""

import dataclasses
from typing import Annotated, Literal

import pytest

from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.errors import ConfigError
from llmbuilder.filtering.settings import FilterSettings
from llmbuilder.options import check_options, options_of, refuse_unknown
from llmbuilder.ranges import Range, whole

SHORT = Range(lambda value: isinstance(value, str) and len(value) < 4, "a short text")


@dataclasses.dataclass(frozen=True, slots=True)
class Small:
    count: Annotated[int, whole(2)] = 3
    """How many.

    In two paragraphs."""
    name: Annotated[str, SHORT] | None = None
    """What it is called."""
    mode: bool | Literal["never"] = True
    silent: Literal["a", "b"] = "a"
    kept: int = dataclasses.field(init=False, default=0)

    def __post_init__(self):
        check_options(self, "Small ")


def test_type_range_default_and_doc_are_read_off_the_field():
    assert [(o.name, o.type, o.range, o.default, o.doc) for o in options_of(Small).values()] == [
        ("count", "int", "a whole number of at least 2", 3, "How many.\n\nIn two paragraphs."),
        ("name", "str | None", "a short text, or None", None, "What it is called."),
        ("mode", "bool | 'never'", "True, False or 'never'", True, ""),
        ("silent", "'a' | 'b'", "'a' or 'b'", "a", ""),
    ]


@pytest.mark.parametrize(
    "value",
    [{"count": 2}, {"name": "abc"}, {"name": None}, {"mode": "never"}, {"mode": False}, {"silent": "b"}],
)
def test_a_value_in_range_is_kept(value):
    ((name, expected),) = value.items()
    assert getattr(Small(**value), name) == expected


@pytest.mark.parametrize(
    "value", [{"count": 1}, {"count": True}, {"name": "long"}, {"mode": "a"}, {"mode": 1}, {"silent": True}]
)
def test_a_value_out_of_range_is_refused_with_the_range(value):
    ((name, wrong),) = value.items()
    with pytest.raises(ConfigError) as caught:
        Small(**value)
    assert str(caught.value) == f"Small {name} must be {options_of(Small)[name].range}, got {wrong!r}."


def test_a_name_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"^Unknown thing 'coun'\. Did you mean 'count'\?$"):
        refuse_unknown(Small, ["name", "coun"], "thing")


@pytest.mark.parametrize("kind", [GenerationConfig, FilterSettings])
def test_every_option_there_is_tells_what_it_is_for(kind):
    assert [name for name, option in options_of(kind).items() if not (option.doc and option.range)] == []


def test_the_options_of_generation_are_the_fields_of_its_config():
    options = generation_options()
    assert list(options) == [field.name for field in dataclasses.fields(GenerationConfig) if field.init]
    assert {name: option.default for name, option in options.items()} == {
        name: getattr(GenerationConfig(), name) for name in options
    }
    top_p = options["top_p"]
    assert (top_p.type, top_p.range) == ("float | None", "a number above 0 and at most 1, or None")
    assert top_p.doc.startswith("Keep the smallest set of likeliest tokens")
