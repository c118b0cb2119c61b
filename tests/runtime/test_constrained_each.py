"""Any number of prompts whose texts meet one constraint, as rows come free."""

import json

import pytest
from test_constraint_words import constrained, has, letters, says

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError, ConstraintError
from llmbuilder.files.jsonl import generate_file

FORMS = {
    "words": {"required_words": ["fox"], "forbidden_words": ["a", "the"]},
    "regex": {"regex": "(foo|bar) [a-z]{2,9}"},
    "choices": {"choices": ["yes", "no", "perhaps"]},
}
REQUESTS = [(f"p{n} ", {"max_new_tokens": 16 + n, "seed": n}) for n in range(7)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [{}, {"num_beams": 2}], ids=["sampled", "beams"])
def test_each_text_is_what_it_is_alone(form, more):
    generator = constrained(letters(), **FORMS[form])
    found = dict(generator.complete_each(REQUESTS, batch_size=3, **more))
    assert sorted(found) == list(range(7))
    for number, (prompt, own) in enumerate(REQUESTS):
        (alone,) = generator.complete(prompt, **own, **more)
        (together,) = found[number]
        assert (together.token_ids, together.text) == (alone.token_ids, alone.text)


def test_a_text_without_room_for_its_form_is_an_error_and_the_others_go_on():
    generator = constrained(letters(), required_words=["fox"])
    found = dict(generator.complete_each([("a ", {"max_new_tokens": 2}), ("b ", None), ("c ", {"seed": 1})]))
    assert isinstance(found[0], ConstraintError)
    assert all(has("fox", found[number][0].text) for number in (1, 2))


@pytest.mark.parametrize("full", [False, True])
def test_a_stop_string_that_cuts_a_word_is_the_error_of_its_prompt(full):
    generator = says("a cat sings loudly", required_words=["sings"])
    requests = [("x ", {"stop_strings": "ings"}), ("x ", {"stop_strings": "oud"})]
    found = dict(generator.complete_each(requests, do_sample=False, return_full_text=full))
    assert "A stop string ended the text" in str(found[0])
    assert found[1][0].text == ("x " if full else "") + "a cat sings l"


def test_max_length_counts_new_tokens_wherever_it_is_given():
    generator = constrained(letters(), forbidden_words=["fox"], max_length=30)
    requests = [("abc", None), ("abc", {"max_length": 3})]
    config = GenerationConfig(early_stopping=False)
    for options, lengths in (({}, [30, 3]), ({"max_length": 5}, [5, 3])):
        found = dict(generator.complete_each(requests, config, **options))
        assert [len(found[number][0].token_ids) for number in (0, 1)] == lengths


def test_nothing_to_do_at_the_moment_and_what_is_no_request_are_as_without_a_form():
    generator = says("yes", choices=["yes", "no"])
    found = dict(generator.complete_each([None, ("x ", None), "x ", (5, None), ("y ", {"temprature": 1})]))
    assert found[0][0].text == "yes"
    assert all(isinstance(found[number], ConfigError) for number in (1, 2, 3))
    with pytest.raises(ConfigError, match="requests must be pairs"):
        generator.complete_each("x ")


class TestFiles:
    @pytest.fixture
    def paths(self, tmp_path):
        lines = [{"prompt": prompt, **own} for prompt, own in REQUESTS]
        lines[3]["max_new_tokens"] = 2
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    def test_every_line_has_its_form_or_an_error(self, paths):
        progress = generate_file(constrained(letters(), required_words=["fox"]), *paths)
        records = [json.loads(line) for line in paths[1].read_text().splitlines()]
        assert progress.errors == 1
        assert "The required words 'fox' take at least" in records[3].pop("error")
        assert [has("fox", record["text"]) for record in records if "text" in record] == [True] * 6

    def test_a_run_is_not_resumed_with_another_form(self, paths):
        def stop(progress):
            if progress.done == 2:
                raise KeyboardInterrupt

        fox = constrained(letters(), required_words=["fox"])
        with pytest.raises(KeyboardInterrupt):
            generate_file(fox, *paths, report=stop)
        for other in (constrained(letters(), required_words=["dog"]), constrained(letters()), fox._generator):
            with pytest.raises(
                ConfigError, match=r"another form: \{'required_words': \['fox'\]\}|max_new_tokens"
            ):
                generate_file(other, *paths, resume=True)
        assert generate_file(fox, *paths, resume=True).resumed == 2
