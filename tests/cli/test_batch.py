"""``llmb generate batch``."""

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmbuilder_cli.commands.batch import _resuming

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"


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


def test_the_model_may_stand_before_the_files(llmb, opened, answer, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 1)
    result = llmb("generate", "batch", "bundle", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert result.exit_code == 0
    assert opened[0]["model"] == Path("bundle")
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == answer


@pytest.mark.parametrize("arguments", [("in",), ("bundle", "in", "out", "more"), ("in", "out")])
def test_what_cannot_be_files_and_a_model_is_wrong_usage(llmb, opened, arguments):
    result = llmb("generate", "batch", *arguments)
    assert result.exit_code == 2
    assert "Name the" in result.stderr


def test_a_missing_file_of_prompts_is_told_before_a_model_is_loaded(llmb, opened, tmp_path):
    result = llmb("generate", "batch", "bundle", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert "There is no file of prompts at" in str(result.exception)
    assert opened == []


def test_a_dash_is_standard_input_and_output(llmb, opened, answer):
    lines = '{"prompt": "x"}\n{"prompt": "y", "id": "second", "top_p": 5}\n'
    result = llmb("generate", "batch", "bundle", "-", "-", "--greedy", stdin=lines)
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["id"], first["text"]) == (1, answer)
    assert second["id"] == "second"
    assert "top_p" in second["error"]
    assert result.exit_code == 1


def test_prompts_of_a_pipe_may_go_into_a_file(llmb, opened, answer, tmp_path):
    llmb("generate", "batch", "bundle", "-", tmp_path / "out.jsonl", "--greedy", stdin='{"prompt": "x"}\n')
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == answer


def test_standard_output_is_not_resumed(llmb, opened, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 1)
    assert llmb("generate", "batch", "bundle", tmp_path / "in.jsonl", "-", "--resume").exit_code == 2


def test_temperature_0_in_a_line_is_greedy(llmb, opened, answer, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "x", "temperature": 0}\n')
    result = llmb("generate", "batch", "bundle", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert result.exit_code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == answer


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
    assert "--resume" in str(result.exception)


def test_failed_lines_are_exit_status_1_though_the_file_is_complete(llmb, opened, tmp_path):
    lines = [{"prompt": "a", "do_sample": False}, {"prompt": "b", "temperature": -1}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ("generate", "batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "-m", "bundle")
    result = llmb(*arguments)
    assert result.exit_code == 1
    assert "2 of 2 prompts" in result.stderr
    assert "1 with errors" in result.stderr
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    again = llmb(*arguments, "--resume")
    assert again.exit_code == 1
    assert "1 with errors" in again.stderr


@pytest.fixture
def endless(tmp_path):
    """A batch that has written a line and computes on."""
    long = {"max_new_tokens": 1000, "early_stopping": False, "seed": 1}
    prompts = [{"prompt": "One", "max_new_tokens": 1}, *({"prompt": "Two", **long} for _ in range(200))]
    (tmp_path / "in put.jsonl").write_text("".join(json.dumps(line) + "\n" for line in prompts))
    command = [sys.executable, "-m", "llmbuilder_cli", "generate", "batch", "in put.jsonl", "out.jsonl"]
    command += ["-m", str(DEMO), "--overwrite", "--batch-size", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while not (tmp_path / "out.jsonl").exists() or not (tmp_path / "out.jsonl").read_bytes():
            assert process.poll() is None
        yield process
        process.kill()


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupted_it_says_how_far_it_is_and_how_to_go_on(endless, name, status):
    endless.send_signal(getattr(signal, name))
    (said,) = endless.stderr.read().splitlines()
    assert endless.wait() == status
    assert said.startswith("Stopped. 1 of 201 prompts, 1 token in ")
    command = shlex.split(said.partition("Go on with: ")[2])
    assert command == shlex.split(
        f"llmb generate batch 'in put.jsonl' out.jsonl -m {DEMO} --batch-size 1 --resume"
    )


def test_the_command_that_goes_on_is_the_same_once_it_does():
    assert _resuming(["generate", "batch", "a", "b", "--resume"]) == "llmb generate batch a b --resume"


def test_a_full_disk_names_the_file_and_says_how_to_go_on(program, tmp_path):
    write_prompts(tmp_path / "in.jsonl", 2)
    if not Path("/dev/full").exists():
        pytest.skip("a full device is there on Linux only")
    result = program("generate", "batch", tmp_path / "in.jsonl", "/dev/full", "-m", DEMO, "--overwrite")
    assert result.returncode == 1
    stopped, error = result.stderr.splitlines()
    assert "0 of 2 prompts" in stopped
    assert error.startswith("Error: /dev/full cannot be written: No space left on device.")


def test_an_error_before_the_first_line_says_nothing_of_going_on(program, tmp_path):
    result = program("generate", "batch", tmp_path / "nothing", tmp_path / "out.jsonl", "-m", DEMO)
    assert result.returncode == 1
    assert "Go on with" not in result.stderr
