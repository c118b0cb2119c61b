import json
import re

import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.constraints import grammar, guidance
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.errors import ConfigError, ConstraintError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule

needs_llguidance = pytest.mark.usefixtures("llguidance")
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
        "home": {"type": "object", "properties": {"zip": {"type": "integer"}}, "required": ["zip"]},
    },
    "required": ["name", "home"],
    "additionalProperties": False,
}
PERSON_AT_LEAST = len('{"name": "", "home": {"zip": 0}}')


@pytest.fixture
def llguidance():
    return pytest.importorskip("llguidance")


def constrained(**constraint):
    return ConstrainedGenerator(
        TextGenerator.from_engine(fake_engine(random_rule(), context_length=512)), **constraint
    )


@needs_llguidance
class TestGrammars:
    @pytest.mark.parametrize(
        "options",
        [
            {"do_sample": False},
            {"seed": 1},
            {"do_sample": False, "num_beams": 3},
            {"do_sample": False, "prompt_lookup_num_tokens": 3},
        ],
        ids=str,
    )
    def test_choices_are_met_whatever_the_strategy(self, options):
        generator = constrained(choices=["yes", "no", "it depends", "ja, natürlich"])
        assert generator.generate("Well? ", **options) in ("yes", "no", "it depends", "ja, natürlich")

    def test_regular_expressions_match_the_whole_text(self):
        text = constrained(regex=r"\d{4}-(0[1-9]|1[0-2])").generate("x", seed=2)
        assert re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text)

    def test_grammars_may_nest(self):
        rules = 'start: sum\nsum: NUMBER | "(" sum "+" sum ")"\nNUMBER: /[1-9]/'
        text = constrained(grammar=rules).generate("x", seed=1, max_length=40)
        assert text.count("(") == text.count(")") == text.count("+")

    @pytest.mark.parametrize("room", range(PERSON_AT_LEAST, PERSON_AT_LEAST + 50, 7))
    def test_json_closes_within_the_budget(self, room):
        value = json.loads(constrained(json_schema=PERSON).generate("x", seed=room, max_length=room))
        assert {"name", "home"} <= set(value) <= {"name", "home", "tags"}
        assert len(value["name"]) <= 8
        assert isinstance(value["home"]["zip"], int)

    def test_json_that_does_not_fit_is_an_error(self):
        generator = constrained(json_schema=json.dumps(PERSON))
        with pytest.raises(ConstraintError, match=f"fit into the {PERSON_AT_LEAST - 1} tokens"):
            generator.generate("x", max_length=PERSON_AT_LEAST - 1)

    def test_choices_that_do_not_fit_are_left_out(self):
        assert constrained(choices=["absolutely", "no"]).generate("x", max_length=2) == "no"
        with pytest.raises(ConstraintError, match="choices"):
            constrained(choices=["absolutely", "no"]).generate("x", max_length=1)

    def test_streaming_gives_the_same_text(self):
        generator = constrained(json_schema=PERSON)
        assert "".join(generator.stream("x", seed=4)) == generator.generate("x", seed=4)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"regex": "(a"},
            {"json_schema": {"type": "strin"}},
            {"json_schema": "{"},
            {"json_schema": 3},
            {"choices": []},
            {"choices": "yes"},
            {"grammar": "start: missing"},
        ],
        ids=str,
    )
    def test_wrong_definitions_fail_when_made(self, wrong):
        with pytest.raises(ConstraintError, match=next(iter(wrong))):
            constrained(**wrong)

    @pytest.mark.parametrize("wrong", [5, [1], ["\ud800"]])
    def test_choices_that_are_no_texts_are_refused(self, wrong):
        with pytest.raises(ConfigError, match="choices"):
            constrained(choices=wrong)

    def test_a_schema_that_is_nested_too_deeply_is_refused(self):
        schema = {}
        for _ in range(5000):
            schema = {"items": schema}
        with pytest.raises(ConstraintError, match="json_schema is not valid"):
            constrained(json_schema=schema)

    def test_a_model_without_eos_is_refused(self):
        with pytest.raises(ConstraintError, match="eos_token_id"):
            constrained(choices=["a"]).generate("x", early_stopping=False)


@pytest.mark.parametrize("other", [{"regex": "a"}, {"required_words": ["a"]}, {"forbidden_words": ["a"]}])
def test_grammars_are_not_combined(other):
    with pytest.raises(ConfigError, match="cannot be combined"):
        constrained(choices=["a"], **other)


def test_a_missing_llguidance_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(guidance.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install .llguidance>="):
        constrained(regex="a")


@needs_llguidance
@pytest.mark.parametrize(
    ("pattern", "lacking"),
    [
        (r"\{a", "cannot say '{a' at its beginning"),
        ("[ab]{2}xa", "cannot say 'xa' after 'aa'"),
        ("ab[x-z]", "has no way to go on after 'ab'"),
        ("a{11}", "Allow more new tokens"),
    ],
)
def test_a_text_that_the_vocabulary_cannot_say_is_told_from_one_that_is_too_long(pattern, lacking, capfd):
    rules = grammar.GrammarRules(Vocabulary([b"a", b"b", b""]), "regex", pattern)
    with pytest.raises(ConstraintError, match=re.escape(lacking)):
        rules.start(Prompt((0,), "", GenerationConfig(), (2,), 64, 10))
    assert capfd.readouterr().err == ""


@needs_llguidance
def test_a_vocabulary_that_cannot_say_a_choice_is_an_error():
    rules = grammar.GrammarRules(Vocabulary([b"a", b"b", b""]), "choices", ["abc"])
    with pytest.raises(ConstraintError, match="'abc' has characters"):
        rules.start(Prompt((0,), "", GenerationConfig(), (2,), 64, 10))


@needs_llguidance
@pytest.mark.parametrize("failing", ["compute_bitmask", "deep_copy", "consume_token", "is_accepting"])
def test_what_llguidance_raises_ends_the_prompt_as_our_error(failing, monkeypatch):
    def fail(*_):
        raise RuntimeError("it broke")

    generator = constrained(regex="[ab]{9}")
    made = guidance.Matcher.__init__

    def init(self, matcher):
        made(self, Failing(matcher))

    class Failing:
        def __init__(self, matcher):
            self._real = matcher

        def __getattr__(self, name):
            return fail if name == failing else getattr(self._real, name)

    monkeypatch.setattr(guidance.Matcher, "__init__", init)
    with pytest.raises(ConstraintError, match=r"^llguidance failed \(it broke\)\. Write"):
        generator.generate("a")


@needs_llguidance
@pytest.mark.parametrize(
    "constraint",
    [
        {"regex": "a" * 100_001},
        {"grammar": "start: " + "a" * 100_000},
        {"json_schema": {"const": "a" * 100_000}},
        {"json_schema": '"' + "a" * 100_000 + '"'},
        {"choices": ["a" * 50_000, "b" * 50_001]},
    ],
    ids=lambda constraint: next(iter(constraint)),
)
def test_a_definition_of_megabytes_is_refused(constraint):
    with pytest.raises(ConstraintError, match="may have 100000 characters") as raised:
        constrained(**constraint)
    assert len(str(raised.value)) < 200
