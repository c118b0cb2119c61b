"""A hundredth of `make fuzz`, and that it would notice."""

import random
from pathlib import Path

import fuzz
import pytest
from fuzzing import changes, targets, watch
from fuzzing.targets import DifferenceError, judge

from llmbuilder.errors import ConfigError

SHARE = 0.006


def test_inputs_that_nobody_would_write_are_refused_or_read_as_the_reference_reads_them():
    results = fuzz.fuzz(SHARE, None, 2)
    assert results["faults"] == []
    assert results["light"] >= SHARE * 1_000_000
    for counted in results["targets"].values():
        assert counted["accepted"] + counted["refused"] == counted["inputs"]


def test_a_whole_run_has_over_a_million_inputs_and_ten_thousand():
    light = [entry.inputs for entry in targets.TARGETS.values() if entry.light]
    others = [entry.inputs for entry in targets.TARGETS.values() if not entry.light]
    assert (sum(light), sum(others)) == (1_100_000, 14_000)


class Failing:
    """A target that fails as it is told."""

    def __init__(self, error):
        self._error = error

    def run(self, made):
        if self._error:
            raise self._error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "accepted"),
        (ConfigError("no"), "refused"),
        (KeyError("a"), "foreign KeyError: 'a'"),
        (DifferenceError("b"), "differs: b"),
        (RecursionError("c"), "foreign RecursionError: c"),
    ],
)
def test_only_errors_of_ours_are_refusals(error, outcome):
    assert judge(Failing(error), b"") == outcome


SCRIPT = """
import json, os, struct, sys
_, _, name, first, last, place, folder = sys.argv
for number in range(int(first), int(last)):
    with open(place, "wb") as file:
        file.write(struct.pack("<3Q", number, number - int(first), 0))
    if number == 2:
        os.abort()
    if number == 4:
        while True:
            pass
print(json.dumps({"number": 5, "fault": "foreign KeyError: 1"}))
"""


def test_a_process_that_ends_or_hangs_is_a_fault_and_the_next_input_has_its_turn(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(watch, "_HANG", 0.5)
    (tmp_path / "script.py").write_text(SCRIPT)
    found = watch.run_all({"config": 6}, tmp_path / "script.py", 1, lambda *_: None)["config"]
    assert found.faults[2].startswith("crash: the process ended with -")
    assert found.faults[4].startswith("hang")
    assert found.faults[5] == "foreign KeyError: 1"
    assert found.outcomes["accepted"] == 3  # the last process says nothing of its own


def test_where_our_code_runs_it_in_a_process_of_its_own_an_end_is_a_refusal(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    found = watch.run_all({"template": 4}, tmp_path / "script.py", 1, lambda *_: None)["template"]
    assert (found.faults, found.outcomes["refused"]) == ({5: "foreign KeyError: 1"}, 1)


def test_the_same_number_gives_the_same_input():
    value = {"a": [1, {"b": "c"}], "d": None}
    first, again = (
        changes.written(changes.changed_value(value, random.Random(7)), random.Random(8)) for _ in range(2)
    )
    assert first == again
    assert value == {"a": [1, {"b": "c"}], "d": None}
