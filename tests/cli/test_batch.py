"""``llmb generate batch``."""

import json


def write_prompts(path, count):
    path.write_text("".join(json.dumps({"prompt": f"p{n}", "do_sample": False}) + "\n" for n in range(count)))


def test_completes_every_line_and_reports_on_stderr(llmb, opened, answer, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 3)
    result = llmb("generate", "batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "-m", "bundle")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "3 of 3 prompts" in result.stderr
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["text"] for record in records] == [answer] * 3


def test_passes_options_on_to_every_prompt(llmb, opened, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 2)
    target = tmp_path / "out.jsonl"
    llmb("generate", "batch", tmp_path / "in.jsonl", target, "-m", "bundle", "--set", "max_new_tokens=4")
    assert [json.loads(line)["new_tokens"] for line in target.read_text().splitlines()] == [4, 4]


def test_resumes_after_the_lines_that_are_there(llmb, opened, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 3)
    target = tmp_path / "out.jsonl"
    target.write_text('{"id": 1, "text": "kept"}\n{"id": 2, "te')
    result = llmb("generate", "batch", tmp_path / "in.jsonl", target, "-m", "bundle", "--resume")
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert [record["id"] for record in records] == [1, 2, 3]
    assert records[0]["text"] == "kept"
    assert "1 were there already" in result.stderr


def test_an_existing_file_is_kept_unless_asked(llmb, opened, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 1)
    (tmp_path / "out.jsonl").write_text("kept")
    result = llmb("generate", "batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "-m", "bundle")
    assert result.exit_code == 1
    assert (tmp_path / "out.jsonl").read_text() == "kept"
