"""``llmb evaluate`` and ``llmb compare``."""

import json
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
COMPARE = ("compare", DEMO, "-p", "Once upon a time", "--set", "max_new_tokens=8", "--samples", "3")


def test_text_from_stdin_gives_a_line_for_each_measure(llmb):
    result = llmb("evaluate", stdin="The fox ran. It was red. It slept.")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "coherence",
        "fluency",
        "diversity",
        "repetition",
    ]


def test_jsonl_gives_an_object_for_each_line(llmb, tmp_path):
    lines = [{"text": "A fox ran home.", "prompt": "A fox"}, {"text": "Go."}]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    first, second = map(json.loads, llmb("evaluate", path, "--json").stdout.splitlines())
    assert first["relevance"] > 0
    assert second["relevance"] is None
    assert len(llmb("evaluate", path).stdout.splitlines()) == 3


def test_a_model_judges_with_its_own_probabilities(llmb, tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("Once upon a time, there was a little girl named Anna.", encoding="utf-8")
    plain, judged = (
        json.loads(llmb("evaluate", path, "--json", *more).stdout)["fluency"] for more in ((), ("-m", DEMO))
    )
    assert plain != judged


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Line 1 is not JSON"),
        ('{"id": 1}', "no string `text`"),
        ('{"text": "a", "prompt": 1}', "`prompt` is not"),
    ],
)
def test_lines_that_cannot_be_used_are_wrong_usage(llmb, tmp_path, content, message):
    path = tmp_path / "texts.jsonl"
    path.write_text(content, encoding="utf-8")
    result = llmb("evaluate", path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_compare_prints_a_table_and_a_verdict_for_each_pair(llmb):
    result = llmb(*COMPARE, "--config", "temperature=0.5, top_k=9", "--config", "")
    assert result.exit_code == 0, result.stderr
    assert "temperature=0.5" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("2 against 1:")


def test_compare_writes_json_and_a_page(llmb, tmp_path):
    page = tmp_path / "page.html"
    result = llmb(*COMPARE, "--config", "temperature=0.5", "--json", "--html", page)
    found = json.loads(result.stdout)
    assert len(found["results"][0]["samples"]) == 3
    assert "<svg" in page.read_text(encoding="utf-8")
    assert str(page) in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", '[{"temperature": 0.5}, {"do_sample": false}]'),
        ("c.toml", "[[config]]\ntop_k = 4\n[[config]]\n"),
    ],
)
def test_configurations_come_from_files(llmb, tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    found = json.loads(llmb(*COMPARE, "--configs", path, "--json").stdout)
    assert len(found["results"]) == 2


@pytest.mark.parametrize("arguments", [(), ("--configs", "README.md")])
def test_no_usable_configuration_is_wrong_usage(llmb, arguments, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert llmb(*COMPARE, *arguments).exit_code == 2
