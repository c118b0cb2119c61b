import copy
import dataclasses
import json
import math
import pickle
import re

import numpy as np
import pytest

from llmbuilder.config import GenerationConfig, generation_options
from llmbuilder.errors import ConfigError
from llmbuilder.overrides import ELSEWHERE

HUGE = 10**400  # a whole number that no float holds

ACCEPTED = {
    "max_new_tokens": [1, np.int64(3)],
    "min_new_tokens": [0, 100],
    "max_length": [1, None],
    "temperature": [0.01, 2, np.float32(1.5)],
    "top_k": [0, 1, None],
    "top_p": [1, 1.0, 1e-9, None],
    "min_p": [1.0, 0.1, None],
    "typical_p": [1.0, 0.1, None],
    "epsilon_cutoff": [0, 0.999],
    "eta_cutoff": [0.0, 0.999],
    "repetition_penalty": [0.5, 2],
    "encoder_repetition_penalty": [0.5, 2],
    "presence_penalty": [-2, 0.5, 2.0],
    "frequency_penalty": [-2, 0.5, 2.0],
    "logit_bias": [{}, {5: 1}, {"5": -100.0, 7: 100}, {np.int64(3): np.float32(1)}, None],
    "no_repeat_ngram_size": [0, 3],
    "exponential_decay_length_penalty": [(0, 1.1), [5, 0.5], None],
    "do_sample": [True, False],
    "length_penalty": [-30, 0.0, 2.5, 30],
    "early_stopping": [True, False, "never"],
    "eos_token_id": [0, [1, 2], (3,), np.int64(4), None],
    "bos_token_id": [0, None],
    "pad_token_id": [0, None],
    "max_time": [0.001, 5, None],
    "stop_strings": ["\n", ["a", "b"], ("c",), [], None],
    "use_cache": [True, False],
    "batch_size": [1, None],
    "seed": [0, 2**64, None],
    "num_return_sequences": [1, 5],
    "logprobs": [0, 5, None],
    "return_full_text": [True, False],
    "context_overflow": ["slide", "stop", "error"],
    "truncate_prompt": [True, False],
}

REFUSED = {
    "max_new_tokens": [0, -1, 1.0, True, "5", None, math.inf],
    "min_new_tokens": [-1, 0.5, None],
    "max_length": [0, 2.0],
    "temperature": [0, -0.1, 1e-31, 1e31, math.nan, math.inf, "1", True, None, HUGE, 1j],
    "top_k": [-1, 1.5, True],
    "top_p": [0, 1.01, -0.1, math.nan],
    "min_p": [0, 1.01],
    "typical_p": [0, 1.01],
    "epsilon_cutoff": [1, -0.1, None],
    "eta_cutoff": [1, -0.1, None],
    "repetition_penalty": [0, -1, 1e-40, 1e40, math.inf, HUGE, None],
    "encoder_repetition_penalty": [0, -1, 1e40],
    "presence_penalty": [2.1, -2.1, math.nan, None, True],
    "frequency_penalty": [2.1, -2.1, math.nan, "1"],
    "logit_bias": [{-1: 1}, {5: 101}, {5: math.nan}, {"x": 1}, {5: "1"}, {True: 1}, 5, [(5, 1)]],
    "no_repeat_ngram_size": [-1, 1.0, None],
    "exponential_decay_length_penalty": [(1,), (1, 2, 3), (-1, 1.1), (1.5, 1.1), (1, 0), (1, math.nan), 1.1],
    "do_sample": [1, 0, "yes", None],
    "num_beams": [0, 1.0, None],
    "num_beam_groups": [0, None],
    "diversity_penalty": [-0.1, None],
    "length_penalty": [-30.1, 400.0, math.nan, "1", None],
    "early_stopping": ["always", 1, None, np.zeros(2)],
    "eos_token_id": [-1, [], [1, -1], [1, "2"], "2", True, 1.0],
    "bos_token_id": [-1, [1], True],
    "pad_token_id": [-1, 0.0],
    "max_time": [0, -1, math.nan, math.inf],
    "stop_strings": ["", ["a", ""], [1], 5, {"a"}],
    "use_cache": [1, None],
    "batch_size": [0, 2.0, True],
    "seed": [-1, 1.0, "a"],
    "num_return_sequences": [0, None],
    "logprobs": [-1, True],
    "return_full_text": ["no", None],
    "context_overflow": ["wrap", None, True],
    "truncate_prompt": [1, None],
    "prompt_lookup_num_tokens": [0, 1.5],
}


def each(table):
    return [pytest.param(name, value, id=f"{name}={value!r:.20}") for name in table for value in table[name]]


@pytest.mark.parametrize(("name", "value"), each(ACCEPTED))
def test_accepts_values_inside_the_documented_range(name, value):
    GenerationConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), each(REFUSED))
def test_refuses_values_outside_the_range_naming_option_and_value(name, value):
    with pytest.raises(ConfigError, match=f"^{name} must be ") as caught:
        GenerationConfig(**{name: value})
    assert repr(value)[:70] in str(caught.value) or isinstance(value, list)
    assert len(str(caught.value)) < 250


def test_a_number_that_python_cannot_write_is_refused_like_any_other():
    with pytest.raises(ConfigError, match=r"^temperature must be .*, got a int that cannot be shown\."):
        GenerationConfig(temperature=10**5000)


def test_every_option_has_a_refused_value_here():
    assert set(REFUSED) == {f.name for f in dataclasses.fields(GenerationConfig)} - {"given"}


def test_defaults_are_valid_and_none_of_them_counts_as_given():
    assert GenerationConfig().given == frozenset()
    assert GenerationConfig().options() == {}


def test_temperature_zero_points_to_greedy_decoding():
    with pytest.raises(ConfigError, match="do_sample=False"):
        GenerationConfig(temperature=0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("temp", "temperature"),
        ("stop", "stop_strings"),
        ("eos", "eos_token_id"),
        ("max_tokens", "max_new_tokens"),
        ("num_samples", "num_return_sequences"),
        ("n", "num_return_sequences"),
        ("stop_sequences", "stop_strings"),
        ("greedy", "do_sample=False"),
        ("repeat_penalty", "repetition_penalty"),
        ("timeout", "max_time"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name, meant):
    with pytest.raises(ConfigError, match=rf"Unknown generation option {name!r}\. Did you mean {meant!r}"):
        GenerationConfig(**{name: 1})


def test_an_unknown_name_like_nothing_known_is_refused_with_where_to_look():
    with pytest.raises(
        ConfigError, match=r"^Unknown generation option 'zzz'\. help\(GenerationConfig\) lists"
    ):
        GenerationConfig(zzz=1)


def test_the_record_of_given_names_is_no_option():
    with pytest.raises(ConfigError, match="Unknown generation option 'given'"):
        GenerationConfig(given=frozenset())


def test_arguments_are_keyword_only():
    with pytest.raises(ConfigError, match="keyword"):
        GenerationConfig(50)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_new_tokens": 11, "max_new_tokens": 10}, ["min_new_tokens=11", "max_new_tokens=10"]),
        ({"num_return_sequences": 2, "do_sample": False}, ["do_sample=True", "num_return_sequences=1"]),
    ],
)
def test_contradictions_are_refused_naming_both_sides(options, named):
    with pytest.raises(ConfigError) as caught:
        GenerationConfig(**options)
    assert all(part in str(caught.value) for part in named)


def test_a_config_error_is_also_a_value_error():
    with pytest.raises(ValueError, match="top_p"):
        GenerationConfig(top_p=2)


def test_lists_become_tuples_so_that_a_config_never_changes():
    config = GenerationConfig(
        stop_strings=["a"], eos_token_id=[1, 2], exponential_decay_length_penalty=[3, 1.5]
    )
    assert config.stop_strings == ("a",)
    assert config.eos_token_id == (1, 2)
    assert config.exponential_decay_length_penalty == (3, 1.5)
    hash(config)


def test_numbers_of_numpy_become_pythons_own_which_cannot_overflow():
    config = GenerationConfig(
        max_new_tokens=np.uint8(255),
        temperature=np.float32(0.5),
        do_sample=np.True_,
        eos_token_id=[np.int64(1), 2],
        exponential_decay_length_penalty=(np.uint8(3), np.float32(1.5)),
    )
    assert config.options() == {
        "max_new_tokens": 255,
        "temperature": 0.5,
        "do_sample": True,
        "eos_token_id": (1, 2),
        "exponential_decay_length_penalty": (3, 1.5),
    }
    assert {type(value) for value in config.options().values()} == {int, float, bool, tuple}
    assert type(config.eos_token_id[0]) is type(config.exponential_decay_length_penalty[0]) is int


def test_fields_cannot_be_set():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GenerationConfig().seed = 1


@pytest.mark.parametrize(
    ("given", "ids"), [(None, None), (7, (7,)), ([7, 8], (7, 8)), (np.int64(7), (7,)), (0, (0,))]
)
def test_eos_ids_is_a_tuple_whatever_form_was_given(given, ids):
    found = GenerationConfig(eos_token_id=given).eos_ids
    assert (type(found), found) == (type(ids), ids)


def test_configs_with_equal_options_are_equal_however_they_were_given():
    assert GenerationConfig(max_new_tokens=100) == GenerationConfig()
    assert GenerationConfig(seed=1) != GenerationConfig(seed=2)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])  # noqa: S301
def test_copies_keep_values_and_what_was_given(clone):
    config = GenerationConfig(seed=3, stop_strings="x")
    assert clone(config) == config
    assert clone(config).given == {"seed", "stop_strings"}


def test_replace_changes_one_option_and_checks_it():
    config = GenerationConfig(seed=3, top_k=7)
    changed = dataclasses.replace(config, seed=4)
    assert (changed.seed, changed.top_k) == (4, 7)
    with pytest.raises(ConfigError, match="seed"):
        dataclasses.replace(config, seed=-1)


def test_merge_lays_later_layers_over_earlier_ones():
    merged = GenerationConfig.merge(
        {"seed": 1, "top_k": 5}, GenerationConfig(seed=2), None, {"temperature": 0.5}
    )
    assert merged.options() == {"seed": 2, "top_k": 5, "temperature": 0.5}


def test_merge_keeps_an_option_given_explicitly_at_its_default():
    assert GenerationConfig.merge({"temperature": 0.3}, GenerationConfig(temperature=0.8)).temperature == 0.8


def test_untouched_fields_of_a_later_layer_hide_nothing():
    assert GenerationConfig.merge({"temperature": 0.3}, GenerationConfig(seed=1)).temperature == 0.3


def test_merge_validates_only_the_result():
    merged = GenerationConfig.merge({"min_new_tokens": 200}, {"max_new_tokens": 300})
    assert (merged.min_new_tokens, merged.max_new_tokens) == (200, 300)
    with pytest.raises(ConfigError, match="min_new_tokens=200"):
        GenerationConfig.merge({"min_new_tokens": 200}, {})


def test_merge_refuses_what_is_no_config():
    with pytest.raises(ConfigError, match="must be a GenerationConfig or a dict of options, got 5"):
        GenerationConfig.merge(None, 5)


@pytest.mark.parametrize("layer", [{"tempreature": 1}, {"num_beams": "2"}])
def test_merge_refuses_bad_options_in_mappings(layer):
    with pytest.raises(ConfigError):
        GenerationConfig.merge(layer)


def test_a_dict_of_a_config_is_json_and_makes_the_same_config_again():
    config = GenerationConfig(
        seed=3,
        stop_strings="x",
        eos_token_id=[1, 2],
        temperature=0.8,
        logit_bias={5: 1.0},
        early_stopping="never",
    )
    again = GenerationConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert (again, again.given) == (config, config.given)
    assert config.to_dict()["stop_strings"] == ["x"]


def test_a_dict_holds_what_was_given_so_that_a_bundles_defaults_stay_visible():
    assert GenerationConfig(top_k=50).to_dict() == {"top_k": 50}
    assert GenerationConfig.from_dict({}).given == frozenset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "Unknown generation option 'temprature'. Did you mean 'temperature'?"),
        ({1: 1}, "Unknown generation option 1. help"),
        ({"top_p": 2}, "top_p must be"),
        ("seed=1", "Options must be a dict, such as GenerationConfig.to_dict"),
        (GenerationConfig(), "Options must be a dict"),
    ],
)
def test_a_dict_with_anything_else_is_refused(options, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        GenerationConfig.from_dict(options)


def test_names_of_elsewhere_are_those_of_no_option_and_mean_one():
    assert set(ELSEWHERE) & set(generation_options()) == set()
    assert {meant.partition("=")[0] for meant in ELSEWHERE.values()} <= set(generation_options())
