"""A generator that is pickled carries its path and options, and is opened where it arrives."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError, ModelNotFoundError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, scripted

STORYTELLER = Path(__file__).parents[2] / "artifacts" / "storyteller"
DEMO = STORYTELLER / "bundle"
CONFIG = GenerationConfig(max_new_tokens=6, seed=3)


class OfSomebody(TextGenerator):
    """A class of a user's."""


@pytest.mark.parametrize("copied", [lambda g: pickle.loads(pickle.dumps(g)), copy.copy, copy.deepcopy])  # noqa: S301
def test_what_arrives_uses_the_same_model_with_the_same_options(copied):
    with TextGenerator(DEMO, STORYTELLER / "tokenizer", threads=1, config=CONFIG) as generator:
        with copied(generator) as again:
            assert again.engine is generator.engine
            assert again.config == generator.config
            assert again.generate("Once") == generator.generate("Once")
        assert not generator.closed


def test_a_path_is_meant_from_where_it_was_opened(monkeypatch, tmp_path):
    monkeypatch.chdir(DEMO.parent)
    pickled = pickle.dumps(TextGenerator("bundle", threads=1))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).generate("Once", CONFIG)  # noqa: S301


def test_a_pickle_is_small_and_holds_no_model():
    assert len(pickle.dumps(TextGenerator(DEMO, threads=1, config=CONFIG))) < 2000


def test_a_class_of_a_users_stays_one():
    pickled = pickle.dumps(OfSomebody(DEMO, threads=1))
    assert type(pickle.loads(pickled)) is OfSomebody  # noqa: S301


def test_a_model_that_is_gone_is_the_error_of_any_other(monkeypatch, tmp_path):
    (tmp_path / "there").symlink_to(DEMO)
    pickled = pickle.dumps(TextGenerator(tmp_path / "there", threads=1))
    (tmp_path / "there").unlink()
    with pytest.raises(ModelNotFoundError, match="There is no model at"):
        pickle.loads(pickled)  # noqa: S301


def test_a_generator_over_an_engine_made_by_hand_refuses():
    generator = TextGenerator.from_engine(fake_engine(scripted("a")))
    with pytest.raises(ConfigError, match=r"made from an engine cannot be pickled: .* Make it from a path"):
        pickle.dumps(generator)


def test_a_closed_generator_refuses():
    generator = TextGenerator(DEMO, threads=1)
    generator.close()
    with pytest.raises(ConfigError, match="closed"):
        pickle.dumps(generator)


def test_processes_that_are_spawned_generate_the_same_texts():
    prompts = ["Once", "The dog"]
    with (
        TextGenerator(DEMO, threads=1, config=CONFIG) as generator,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        assert list(pool.map(generator.generate, prompts)) == [generator.generate(each) for each in prompts]


JOBLIB = Path(__file__).parents[2] / ".cache" / "tools" / "bin" / "python"
WITH_JOBLIB = """
import sys
from joblib import Parallel, delayed
from llmbuilder import GenerationConfig, TextGenerator

if __name__ == "__main__":
    with TextGenerator(sys.argv[1], threads=1, config=GenerationConfig(max_new_tokens=6, seed=3)) as generator:
        prompts = ["Once", "The dog", "A fox"]
        calls = [delayed(generator.generate)(prompt) for prompt in prompts]
        assert Parallel(n_jobs=2)(calls) == [generator.generate(prompt) for prompt in prompts]
"""


@pytest.mark.prove
def test_joblibs_processes_generate_the_same_texts(tmp_path):
    libraries = list(JOBLIB.parents[1].glob("lib/python*/site-packages/joblib"))
    if not libraries:
        pytest.skip("No joblib: python3 -m venv .cache/tools, .cache/tools/bin/pip install joblib.")
    program = tmp_path / "program.py"
    program.write_text(WITH_JOBLIB, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(libraries[0].parent)])}
    done = subprocess.run(
        [sys.executable, program, DEMO], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
