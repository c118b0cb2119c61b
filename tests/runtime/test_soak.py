"""The program that asks one generator in many threads finds what is wrong, and nothing where nothing is."""

import json
import subprocess
import sys
from itertools import count

import pytest
import soak

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule


def test_a_short_soak_of_the_demo_model_finds_nothing_wrong(tmp_path):
    results = tmp_path / "results.json"
    arguments = [f"--results={results}", "--minutes=0.03", "--threads=4", "--requests=11"]
    caches_fill = "--most-growth=10"  # in the first seconds
    subprocess.run([sys.executable, soak.__file__, *arguments, caches_fill], check=True)
    measured = json.loads(results.read_text())
    assert measured["answers"] >= 4
    assert (measured["different"], measured["leases_while_open"], measured["leases_afterwards"]) == (0, 1, 0)


def test_an_answer_that_is_another_one_is_found():
    answers = count()
    generator = TextGenerator(fake_engine(random_rule()))
    found = soak.Soak(generator, [lambda _: next(answers)])
    found.run(threads=2, seconds=0.01)
    assert len(found.wrong) == found.answers.total() > 0


def test_memory_that_grows_is_found():
    found = soak.Soak(TextGenerator(fake_engine(random_rule())), [])
    found.at_rest = [50, 90, 100, 100, 100, 100, 120, 120]
    assert found.growth() == pytest.approx(0.2)
    found.at_rest = [50, 90, 100, 100, 100, 100, 100, 100]
    assert found.growth() == 0
