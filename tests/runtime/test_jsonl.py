"""A file of prompts becomes a file of completions, line for line, whatever happens on the way."""

import json
import os
import socket
import subprocess
import sys

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.files.jsonl import generate_file
from llmbuilder.filtering import OutputGate

LENGTHS = [9, 1, 4, 12, 2, 2, 7, 1, 3, 5]
PROMPTS = [{"prompt": f"p{n}", "max_new_tokens": length, "seed": n} for n, length in enumerate(LENGTHS)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    write(path, PROMPTS)
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.jsonl"


def write(path, lines):
    path.write_bytes(b"".join(map(as_bytes, lines)))


def as_bytes(line):
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line) + "\n").encode()


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_is_the_completion_of_that_prompt_alone(random, source, target):
    generate_file(random, source, target)
    for number, (record, prompt) in enumerate(zip(read(target), PROMPTS, strict=True), start=1):
        options = dict(prompt)
        (alone,) = random.complete(options.pop("prompt"), **options)
        assert record == {
            "id": number,
            "text": alone.text,
            "finish_reason": "length",
            "prompt_tokens": 2,
            "new_tokens": prompt["max_new_tokens"],
        }


def test_half_a_character_in_a_line_stops_nothing(random, source, target):
    write(source, [{"prompt": "a", "id": "\ud83e"}, {"prompt": "\ud83e"}, {"prompt": "c"}])
    generate_file(random, source, target, max_new_tokens=2)
    first, second, third = read(target)
    assert first["id"] == "\ud83e"
    assert "half a character" in second["error"]
    assert third["new_tokens"] == 2
    assert generate_file(random, source, target, resume=True).resumed == 3


def test_a_mark_at_the_beginning_and_empty_lines_count_for_nothing(random, source, target):
    write(source, [b"\xef\xbb\xbf", {"prompt": "a"}, "\n", {"prompt": "b"}, "  \r\n", "\n"])
    progress = generate_file(random, source, target, max_new_tokens=2)
    assert [(record["id"], record["new_tokens"]) for record in read(target)] == [(1, 2), (3, 2)]
    assert (progress.done, progress.total) == (2, 2)
    assert generate_file(random, source, target, max_new_tokens=2, resume=True).resumed == 2


def test_lines_keep_their_own_ids(random, source, target):
    write(source, [{"prompt": "a", "id": "x-7"}, {"prompt": "b", "id": [1, 2]}, {"prompt": "c"}])
    generate_file(random, source, target, max_new_tokens=2)
    assert [record["id"] for record in read(target)] == ["x-7", [1, 2], 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken\n", "Line 2 is not JSON"),
        ("[1, 2]\n", "Line 2 must be an object"),
        ('{"prompt": "a", "seed": ' + "9" * 5000 + "}\n", "Line 2 is not JSON"),
        ("[" * 100_000 + "\n", "Line 2 is not JSON"),
        ({"text": "a"}, "Line 2 has no prompt"),
        ({"prompt": "a", "temprature": 1}, "Did you mean 'temperature'"),
        (b'{"prompt": "caf\xe9"}\n', "Line 2 is not UTF-8"),
        *(({"prompt": wrong}, "must be text or a sequence") for wrong in (5, None, {}, [True], [1.0])),
        (
            {"prompt": "a", "num_beams": 2, "do_sample": False, "length_penalty": 1000},
            "length_penalty must be",
        ),
        ({"prompt": "a", "batch_size": 2}, "batch_size holds for all prompts"),
        ({"prompt": "a", "num_return_sequences": 2}, "one completion"),
        ({"prompt": "a" * 100}, "window holds 64"),
        ({"prompt": "a", "context_overflow": "error", "max_new_tokens": 99}, "reached the model's window"),
    ],
)
def test_a_wrong_line_gives_one_error_record(random, source, target, line, message):
    write(source, [PROMPTS[0], line, PROMPTS[1]])
    progress = generate_file(random, source, target)
    records = read(target)
    assert progress.errors == 1
    assert [list(record)[1] for record in records] == ["text", "error", "text"]
    assert message in records[1]["error"]


def test_a_run_cut_anywhere_and_resumed_gives_the_same_file(random, source, target):
    generate_file(random, source, target)
    whole = target.read_bytes()
    for cut in range(0, len(whole), 7):
        target.write_bytes(whole[:cut])
        generate_file(random, source, target, resume=True)
        assert target.read_bytes() == whole


def test_resuming_computes_only_what_is_missing(random, source, target):
    generate_file(random, source, target)
    lines = target.read_text().splitlines(keepends=True)
    target.write_text("".join(lines[:6]))
    before = random._engine.model.prefilled
    progress = generate_file(random, source, target, resume=True)
    assert random._engine.model.prefilled - before == 4 * len("p0")
    assert (progress.done, progress.resumed, progress.tokens) == (10, 6, sum(LENGTHS[6:]))


def test_a_run_that_dies_leaves_whole_lines_in_order(random, source, target):
    stopped_after(4, random, source, target)
    assert [record["id"] for record in read(target)] == [1, 2, 3, 4]


def test_resuming_what_was_made_from_other_prompts_is_refused(random, source, target):
    write(target, [{"id": "other", "text": ""}])
    with pytest.raises(ConfigError, match="line 1, is not the completion"):
        generate_file(random, source, target, resume=True)
    assert read(target) == [{"id": "other", "text": ""}]


CHANGES = {
    "other prompts": ({"prompts": [{"prompt": "other"}, *PROMPTS[1:]]}, "begun with other prompts"),
    "fewer prompts": ({"prompts": PROMPTS[:5]}, "begun with other prompts"),
    "other options": ({"temperature": 0.5}, "begun with other options: temperature=None"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_resuming_with_something_else_than_it_was_begun_with_is_refused(random, source, target, change):
    options, message = CHANGES[change]
    stopped_after(3, random, source, target)
    before = target.read_bytes()
    options = dict(options)
    write(source, options.pop("prompts", PROMPTS))
    with pytest.raises(ConfigError, match=message):
        generate_file(random, source, target, resume=True, **options)
    assert target.read_bytes() == before


def test_resuming_with_another_batch_size_and_more_prompts_is_the_same_run(random, source, target):
    stopped_after(3, random, source, target)
    more = [*PROMPTS, {"prompt": "more", "max_new_tokens": 3, "seed": 1}]
    write(source, more)
    assert generate_file(random, source, target, resume=True, batch_size=1).done == len(more)
    resumed = target.read_bytes()
    generate_file(random, source, target, overwrite=True)
    assert target.read_bytes() == resumed


def test_what_a_run_was_begun_with_is_noted_until_its_end(random, source, target):
    stopped_after(3, random, source, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.run"]
    (target.parent / "out.jsonl.run").write_text("{")
    with pytest.raises(ConfigError, match=r"out.jsonl.run is damaged"):
        generate_file(random, source, target, resume=True)
    (target.parent / "out.jsonl.run").unlink()
    generate_file(random, source, target, resume=True)
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_second_writer_is_refused_and_told_who_the_first_is(random, source, target, how):
    refused = []

    def intrude(progress):
        if progress.done == 4:
            with pytest.raises(ConfigError) as error:
                generate_file(random, source, target, **how)
            refused.append(str(error.value))

    generate_file(random, source, target, report=intrude)
    assert [record["id"] for record in read(target)] == list(range(1, 11))
    (message,) = refused
    assert f"{target} is being written by process {os.getpid()} on {socket.gethostname()} since 20" in message


def test_a_second_writer_that_finds_no_note_is_refused_all_the_same(random, source, target):
    def intrude(progress):
        (target.parent / "out.jsonl.run").write_text("{}")
        with pytest.raises(ConfigError, match="being written by another process"):
            generate_file(random, source, target, resume=True)

    generate_file(random, source, target, report=intrude)


def test_two_outputs_are_written_at_once(random, source, target):
    other = target.with_name("other.jsonl")
    generate_file(
        random,
        source,
        target,
        report=lambda progress: progress.done == 4 and generate_file(random, source, other),
    )
    assert other.read_bytes() == target.read_bytes()


def test_a_killed_writer_blocks_nobody(random, source, target):
    program = (
        "import os, sys; from pathlib import Path; from llmbuilder.files.holding import held\n"
        "with held(Path(sys.argv[1]), new=False) as output:\n"
        "    assert output is not None; print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="being written"):
            generate_file(random, source, target, resume=True)
        holder.kill()
        holder.wait()
    generate_file(random, source, target, resume=True)
    assert len(read(target)) == len(PROMPTS)
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_an_output_that_was_emptied_is_begun_anew_with_any_options(random, source, target):
    stopped_after(3, random, source, target)
    target.write_text("")
    assert generate_file(random, source, target, resume=True, temperature=0.5).resumed == 0


def stopped_after(lines, generator, source, target, **options):
    """A run that is interrupted once this many lines are written."""

    def stop(progress):
        if progress.done == lines:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_file(generator, source, target, report=stop, **options)


@pytest.mark.parametrize("content", ["precious", '{"my": "data"}', '{"my": "data"}\n'])
def test_a_file_of_something_else_is_never_cut(random, source, target, content):
    target.write_text(content)
    with pytest.raises(ConfigError, match="line 1, is not the completion"):
        generate_file(random, source, target, resume=True)
    assert target.read_text() == content


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"num_return_sequences": 2}, {"min_new_tokens": 500}, {"resume": True}]
)
def test_options_that_cannot_be_used_overwrite_nothing(random, source, target, options):
    target.write_text("kept")
    with pytest.raises(ConfigError):
        generate_file(random, source, target, overwrite=True, **options)
    assert target.read_text() == "kept"
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_more_lines_than_prompts_are_refused(random, source, target):
    write(target, [{"id": n} for n in range(1, 12)])
    with pytest.raises(ConfigError, match="line 11"):
        generate_file(random, source, target, resume=True)


def test_an_existing_file_is_neither_resumed_nor_overwritten_unasked(random, source, target):
    target.write_text("kept")
    with pytest.raises(ConfigError, match="exists"):
        generate_file(random, source, target)
    assert target.read_text() == "kept"
    generate_file(random, source, target, overwrite=True)
    assert len(read(target)) == len(PROMPTS)


def test_the_prompts_are_never_overwritten(random, source):
    with pytest.raises(ConfigError, match="the file of prompts itself"):
        generate_file(random, source, source, overwrite=True)


def test_a_missing_file_is_a_clear_error(random, tmp_path, target):
    with pytest.raises(ConfigError, match="no file of prompts"):
        generate_file(random, tmp_path / "nothing", target)
    assert not target.exists()


def test_progress_counts_prompts_and_tokens_and_estimates_the_rest(random, source, target):
    seen = []
    generate_file(random, source, target, report=seen.append)
    assert [progress.done for progress in seen] == list(range(11))
    assert seen[-1].tokens == sum(LENGTHS)
    assert seen[-1].tokens_per_second > 0
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left is None
    assert seen[1].seconds_left > 0


def test_errors_of_earlier_runs_count_too(random, source, target):
    write(source, [{"prompt": "a", "temperature": -1}, {"prompt": "b", "max_new_tokens": 2}])
    assert generate_file(random, source, target).errors == 1
    progress = generate_file(random, source, target, resume=True)
    assert (progress.done, progress.resumed, progress.errors) == (2, 2, 1)


def test_a_text_that_a_filter_refuses_is_the_error_of_its_line(random, source, target):
    generate_file(random, source, target)
    plain = read(target)
    progress = generate_file(random, source, target, overwrite=True, gate=OutputGate({"max_length": 4}))
    refused = {record["id"] for record in plain if len(record["text"].strip()) > 4}
    assert 0 < len(refused) < len(plain)
    assert progress.errors == len(refused)
    for before, now in zip(plain, read(target), strict=True):
        if before["id"] not in refused:
            assert now == before
        else:
            assert now == {"id": before["id"], "error": now["error"]}
            assert now["error"].startswith("The text was refused. max_length: ")


def test_a_run_is_not_resumed_with_another_filter(random, source, target):
    gate = OutputGate({"max_length": 4})
    stopped_after(3, random, source, target, gate=gate)
    with pytest.raises(ConfigError, match=r"begun with another filter: \{'max_length': 4\}"):
        generate_file(random, source, target, resume=True)
    progress = generate_file(random, source, target, resume=True, gate=gate)
    assert (progress.resumed, progress.done) == (3, 10)


def test_a_run_of_an_earlier_release_had_no_filter(random, source, target):
    stopped_after(3, random, source, target)
    note = target.with_name("out.jsonl.run")
    facts = json.loads(note.read_text())
    del facts["filter"]
    note.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="begun with another filter: none"):
        generate_file(random, source, target, resume=True, gate=OutputGate({"max_length": 4}))
    assert generate_file(random, source, target, resume=True).done == 10


def test_a_prompt_of_ids_is_filtered_as_any(random, source, target):
    write(source, [{"prompt": [65, 66], "max_new_tokens": 2, "seed": 1}])
    gate = OutputGate({"factuality_check": True, "max_length": 100})
    assert generate_file(random, source, target, gate=gate).errors == 0
