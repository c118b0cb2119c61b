"""LLMBuilder's generation guide: its calls, as written, in one namespace and in order, against the demo model."""

import io
import types
from math import isnan
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbuilder.decoding import beam, drawing
from llmbuilder.quality.coherence import cut
from llmbuilder.quality.text import words
from llmbuilder_cli.main import app

ROOT = Path(__file__).parent.parent
STORYTELLER = ROOT / "artifacts" / "storyteller"
BLOCKS = sorted((Path(__file__).parent / "guide_blocks").glob("*.py"))
TYPED = {
    "quick_start": "Hello\nquit\n",
    "interactive": "Hello\nquit\nHi\nquit\n",
    "chat": "Hello\nquit\nHi\nquit\n",
}
"""What the user types: sessions first, then the block's own loop."""


def pytest_generate_tests(metafunc):
    """The guide gives no seeds: what it draws here is that of one seed; as a long proof, of each of 200."""
    if "seed" in metafunc.fixturenames:
        seeds = range(200) if metafunc.config.option.prove else [0]
        metafunc.parametrize("seed", seeds, scope="module")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``model/model.pt``, its bundle beside it, and ``tokenizer``, as the guide has them."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "model").mkdir()
    (folder / "model" / "model.pt").symlink_to(STORYTELLER / "model.pt")
    (folder / "model" / "model-onnx").symlink_to(STORYTELLER / "bundle")
    (folder / "tokenizer").symlink_to(STORYTELLER / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def seeded(seed):
    """What is drawn without a seed is drawn with this one."""
    random_numbers = drawing.random_numbers

    def seeded_numbers(own, sequence_index):
        return random_numbers(seed if own is None else own, sequence_index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "random_numbers", seeded_numbers)
        patch.setattr(beam, "random_numbers", seeded_numbers)
        yield


@pytest.fixture(scope="module")
def namespace(place, seeded):
    """What is there after all blocks have run; ``torch`` is a stub without a GPU."""
    without_gpu = types.SimpleNamespace(is_available=lambda: False)
    names = {"torch": types.SimpleNamespace(cuda=without_gpu)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for path in BLOCKS:
            patch.setattr("sys.stdin", io.StringIO(TYPED.get(path.stem[3:], "")))
            exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)  # noqa: S102 (our own files)
            if path.stem.endswith("metrics"):
                names["judged"] = names["prompt"], names["response"]  # names that later blocks use again
    return names


def test_there_are_25_blocks():
    assert len(BLOCKS) == 25


def test_every_block_runs(namespace):
    assert namespace["device"] == "cpu"


def test_texts_are_generated(namespace):
    assert namespace["text"].strip()
    assert len(namespace["responses"]) == len(namespace["prompts"]) == 3
    assert all(response.strip() for response in namespace["responses"])


def test_json_is_closed(namespace):
    assert namespace["complete_json"].endswith("}")


def test_the_filter_answers_with_a_text_or_none(namespace):
    filtered = namespace["filtered_response"]
    assert filtered is None or len(filtered.strip()) >= namespace["filter_config"]["min_length"]


def test_metrics_are_shares_where_there_is_something_to_judge(namespace):
    prompt, response = namespace["judged"]
    has_words = bool(words(response))
    can_be_judged = {
        "fluency": True,
        "coherence": len(cut(response)) >= 3,
        "relevance": has_words and bool(words(prompt)),
        "diversity": has_words,
        "repetition": has_words,
    }
    for name, there_is_something in can_be_judged.items():
        value = getattr(namespace["metrics"], name)
        assert 0 <= value <= 1 if there_is_something else isnan(value), name


def test_every_configuration_is_compared(namespace):
    assert len(namespace["results"]) == len(namespace["configs"]) == 3
    assert all(0 <= result.avg_diversity <= 1 for result in namespace["results"])


def test_conversations_are_kept(namespace):
    assert [sorted(turn) for turn in namespace["conversation"]] == [["assistant", "user"]]


def test_the_writer_writes(namespace):
    assert 255 <= len(namespace["continuation"].split()) <= 345
    assert namespace["character"]
    assert len(namespace["dialogue"].splitlines()) == 6


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        (["--prompt", "The future of AI is", "--max-tokens", "100", "--temperature", "0.8"], ""),
        (["--interactive"], "Hello\nquit\n"),
    ],
    ids=["direct", "interactive"],
)
def test_commands_run(place, seeded, monkeypatch, command, typed):
    monkeypatch.chdir(place)
    start = ["generate", "text", "--model", "./model/model.pt", "--tokenizer", "./tokenizer"]
    result = CliRunner().invoke(app, [*start, *command], input=typed)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip()
