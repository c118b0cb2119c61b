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


def test_json_lines_from_stdin_are_texts_each(llmb, tmp_path):
    lines = [
        {"text": "A fox ran home.", "prompt": "A fox"},
        {"id": 2, "error": "No prompt."},
        {"text": "Go."},
    ]
    content = "\n" + "\n".join(map(json.dumps, lines)) + "\n"
    path = tmp_path / "texts.jsonl"
    path.write_text(content, encoding="utf-8")
    piped = llmb("evaluate", "--json", stdin=content)
    assert len(piped.stdout.splitlines()) == 2
    assert piped.stdout == llmb("evaluate", path, "--json").stdout


def test_json_lines_from_stdin_that_are_no_texts_are_wrong_usage(llmb):
    result = llmb("evaluate", "--json", stdin='{"text": "Go."}\n{"id": 1}\n')
    assert result.exit_code == 2
    assert "Standard input, line 2 has no string `text`" in result.stderr


@pytest.mark.parametrize(
    "text", ["{ he said. }", "[1] A note.", '{\n "text": "one object on three lines"\n}']
)
def test_a_text_that_only_begins_like_json_is_a_text(llmb, text):
    assert len(llmb("evaluate", "--json", stdin=text).stdout.splitlines()) == 1


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
        ("{", "line 1 is not JSON"),
        ('{"id": 1}', "no string `text`"),
        ('{"text": "a", "prompt": 1}', "`prompt` is not"),
        ("[" * 100_000, "line 1 is not JSON"),
        ('{"id": 1, "error": "No."}', "has no texts"),
    ],
)
def test_lines_that_cannot_be_used_are_wrong_usage(llmb, tmp_path, content, message):
    path = tmp_path / "texts.jsonl"
    path.write_text(content, encoding="utf-8")
    result = llmb("evaluate", path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_lines_of_a_batch_are_read_as_they_are_written(llmb, tmp_path):
    texts = ["A fox\u2028ran\x85home.", "Go\x0c now."]
    lines = [{"id": 1, "text": texts[0]}, {"id": 2, "error": "No prompt."}, {"id": 3, "text": texts[1]}]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    result = llmb("evaluate", path, "--json")
    assert len(result.stdout.splitlines()) == 2
    assert "1 of 3 lines" in result.stderr


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


def test_a_page_that_cannot_be_written_stops_before_any_sampling(llmb, tmp_path, monkeypatch):
    monkeypatch.setattr("llmbuilder.quality.compare.compare_generations", None)
    (tmp_path / "file").touch()
    for bad in (tmp_path, tmp_path / "nowhere" / "page.html", tmp_path / "file" / "page.html"):
        result = llmb(*COMPARE, "--config", "", "--html", bad)
        assert result.exit_code == 2
        assert "cannot be written" in result.stderr


def test_a_page_that_fails_all_the_same_does_not_take_the_comparison_with_it(llmb, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    result = llmb(*COMPARE, "--config", "temperature=0.5", "--html", tmp_path / "page.html")
    assert "temperature=0.5" in result.stdout
    assert isinstance(result.exception, OSError)


@pytest.mark.parametrize("content", [None, "[", "[" * 100_000, "3"])
def test_no_usable_configuration_is_wrong_usage(llmb, tmp_path, content):
    path = tmp_path / "configs.json"
    path.write_text(content or "", encoding="utf-8")
    result = llmb(*COMPARE, *(("--configs", path) if content else ()))
    assert result.exit_code == 2


HALF = '{"text": "A fox \\ud83e ran."}'


def test_a_line_with_half_a_character_fails_alone(llmb):
    content = '{"text": "A fox ran."}\n' + HALF + '\n{"text": "Go."}\n'
    result = llmb("evaluate", "--json", stdin=content)
    assert result.exit_code == 1
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert first["fluency"] > 0
    assert second.keys() == {"error"}
    assert third["diversity"] == 1
    assert result.stderr.startswith(
        r"Standard input, line 2: `text` has half a character, '\ud83e', at position 6."
    )
    table = llmb("evaluate", stdin=content)
    assert (table.exit_code, len(table.stdout.splitlines())) == (1, 3)


def test_lines_that_all_fail_leave_nothing_to_print_but_why(llmb, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text(
        HALF + "\n" + json.dumps({"text": "Go.", "prompt": "a" * 1_000_001}) + "\n", encoding="utf-8"
    )
    result = llmb("evaluate", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "line 2: A prompt has 1000001 characters, and may have 1000000." in result.stderr
