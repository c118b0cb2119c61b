"""Programs on a full disk: one line that names what cannot be written, exit code 1, and nothing half-written."""

import json
from pathlib import Path

import pytest
from full_disks import DEVICE, grow, limited_to, small_disk

from llmbuilder.errors import FileError

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
SHORT = ("--max-tokens", "3")
COMPARE = ("compare", DEMO, "-p", "Once", "--config", "", "--samples", "2", "--set", "max_new_tokens=3")
PRINTING = {
    "text": ("generate", "text", "-m", DEMO, "-p", "Once", "--set", "seed=1", *SHORT),
    "json": ("generate", "text", "-m", DEMO, "-p", "Once", "--json", *SHORT),
    "session": ("generate", "text", "-i", "-m", DEMO, "--set", "seed=1", *SHORT),
    "info": ("info", DEMO),
    "verify": ("verify", DEMO),
    "evaluate": ("evaluate", "--json"),
    "compare": COMPARE,
    "compare --json": (*COMPARE, "--json"),
    "version": ("--version",),
    "help": ("--help",),
    "help of a command": ("compare", "--help"),
}


@DEVICE
@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_output_that_finds_no_room_is_an_error_of_one_line(program, arguments):
    result = program(*arguments, stdin=b"The fox ran.\n", stdout="/dev/full")
    error = "Error: The output cannot be written: No space left on device. Make room, or send it elsewhere."
    assert result.stderr.splitlines()[-1:] == [error]
    assert "Traceback" not in result.stderr
    assert result.returncode == 1


def test_a_last_line_that_finds_no_room_is_an_error_too(program, tmp_path):
    text = program(*PRINTING["text"]).stdout
    with_less = (
        "import resource, runpy, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(text.encode()) - 1}, {len(text.encode()) - 1}))\n"
        "runpy.run_module('llmbuilder_cli', run_name='__main__', alter_sys=True)\n"
    )
    (tmp_path / "out").touch()
    result = program(*PRINTING["text"], script=with_less, stdout=str(tmp_path / "out"))
    assert result.returncode == 1
    assert (tmp_path / "out").read_text() == text.removesuffix("\n")


@DEVICE
def test_a_page_for_a_full_disk_is_an_error_that_names_it(llmb):
    result = llmb(*COMPARE, "--html", "/dev/full")
    assert isinstance(result.exception, FileError)
    assert str(result.exception).startswith("/dev/full cannot be written: No space left on device.")
    assert result.stdout  # what was found is printed all the same


@pytest.mark.parametrize("old", [None, "an old page"])
def test_a_page_is_written_whole_or_stays_what_it_was(llmb, tmp_path, old):
    page = tmp_path / "page.html"
    if old is not None:
        page.write_text(old)
    with limited_to(1000):
        result = llmb(*COMPARE, "--html", page)
    assert result.exit_code == 1
    assert str(result.exception).startswith(f"{page} cannot be written: File too large. Make room")
    assert [path.read_text() for path in tmp_path.iterdir()] == ([old] if old else [])


def test_a_batch_on_a_disk_that_fills_up_keeps_whole_lines_and_is_resumed(program, tmp_path):
    lines = [
        {"id": f"{number:0300}", "prompt": "Once", "max_new_tokens": 5, "seed": 1} for number in range(40)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ("generate", "batch", tmp_path / "in.jsonl")
    assert program(*command, tmp_path / "whole.jsonl", "-m", DEMO).returncode == 0
    whole = (tmp_path / "whole.jsonl").read_bytes()
    disk = tmp_path / "disk"
    disk.mkdir()
    target = disk / "out.jsonl"
    with small_disk(disk, 8):
        result = program(*command, target, "-m", DEMO)
        assert result.returncode == 1
        assert f"{target} cannot be written: No space left on device. Make room, then" in result.stderr
        assert (
            f"Go on with: llmb generate batch {tmp_path}/in.jsonl {target} -m {DEMO} --resume"
            in result.stderr
        )
        written = target.read_bytes()
        assert whole.startswith(written)
        assert written.endswith(b"\n")
        grow(disk, 1024)
        assert program(*command, target, "-m", DEMO, "--resume").returncode == 0
        assert target.read_bytes() == whole
        assert [path.name for path in disk.iterdir()] == ["out.jsonl"]


@pytest.fixture
def run_saying(program):
    """Exit code and output of the program with standard error going elsewhere."""

    def run(arguments, aside):
        result = program(*arguments, stdin=b"The fox ran.\n", stderr=aside)
        return result.returncode, result.stdout

    return run


@DEVICE
@pytest.mark.parametrize("name", ["text", "session", "evaluate", "version"])
def test_what_is_said_aside_finds_no_room_and_changes_nothing(run_saying, name):
    said = [run_saying(PRINTING[name], aside) for aside in ("/dev/full", "/dev/null")]
    assert said[0] == said[1]
    assert said[0][1]


@DEVICE
@pytest.mark.parametrize("arguments", [("info", "nowhere"), ("evaluate", "nowhere.txt")])
def test_a_failure_that_cannot_be_told_is_one_all_the_same(run_saying, arguments):
    assert run_saying(arguments, "/dev/full") == (1, "")


WRONG_USAGE = {
    "option": ("generate", "text", "--no-such-option"),
    "command": ("no-such-command",),
    "value": ("chat", "--temperature", "hot"),
    "file": ("info", "--no-such-option"),
}


@DEVICE
@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_that_cannot_be_told_is_that_all_the_same(run_saying, arguments):
    assert run_saying(arguments, "/dev/full") == (2, "")


def closing(*numbers):
    """A script that runs the program as a shell does after ``2>&-``."""
    names = {1: "stdout", 2: "stderr"}
    gone = "".join(f"os.close({n}); sys.{names[n]} = sys.__{names[n]}__ = None\n" for n in numbers)
    return f"import os, runpy, sys\n{gone}runpy.run_module('llmbuilder_cli', run_name='__main__', alter_sys=True)\n"


@pytest.mark.parametrize("arguments", [*WRONG_USAGE.values(), PRINTING["version"], ("info", "nowhere")])
def test_a_standard_error_that_is_closed_is_one_that_nobody_reads(program, arguments):
    closed, usual = (program(*arguments, script=script) for script in (closing(2), None))
    assert (closed.returncode, closed.stdout) == (usual.returncode, usual.stdout)


@pytest.mark.parametrize("name", ["version", "text", "info"])
def test_a_standard_output_that_is_closed_cannot_be_written(program, name):
    result = program(*PRINTING[name], script=closing(1))
    assert result.returncode == 1
    error = "Error: The output cannot be written: Bad file descriptor. Make room, or send it elsewhere."
    assert result.stderr.splitlines()[-1:] == [error]


def test_no_file_has_the_number_of_a_stream_that_is_closed(program, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "Once"}\n')
    command = ("generate", "batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "-m", DEMO, *SHORT)
    assert program(*command, script=closing(1, 2)).returncode == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"]


@DEVICE
def test_a_batch_whose_notes_find_no_room_is_written(run_saying, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "Once"}\n')
    command = ("generate", "batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "-m", DEMO)
    assert run_saying((*command, "--set", "max_new_tokens=3"), "/dev/full") == (0, "")
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"]
