"""Most tests of the program run it in forks of a Python that has loaded it: they do what processes of their own do."""

import os
from pathlib import Path

import pytest

GENERATE = ("generate", "text", "-m", "x", "-p", "Once")
FAKE = """
from llmbuilder import inference
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, scripted
from llmbuilder_cli.main import main

inference.TextGenerator = lambda *_, **__: TextGenerator.from_engine(fake_engine(scripted("Łódź, é🦊.")))
main()
"""
CASES = {
    "a session": (("chat", "-m", "x"), {"script": FAKE, "encoding": "latin-1", "stdin": b"\xe9?\nWho?\n"}),
    "an encoding that begins with a mark": (GENERATE, {"script": FAKE, "encoding": "utf-16"}),
    "an error of odd arguments": (("info", os.fsdecode(b"\xff\x1b[31m")), {"encoding": "ascii"}),
    "wrong usage": (("info", "--colour"), {}),
    "no room for the output": (("--version",), {"stdout": "/dev/full"}),
    "no room for an error": (("info", "nowhere"), {"stderr": "/dev/full"}),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device is there on Linux only")
@pytest.mark.parametrize("case", CASES)
def test_a_fork_does_what_a_process_does(program, process, case):
    arguments, options = CASES[case]
    forked, started = program(*arguments, **options), process(*arguments, **options)
    assert forked.returncode == started.returncode
    assert forked.stdout == started.stdout
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]  # above may be a traceback
    assert ("Traceback" in forked.stderr) == ("Traceback" in started.stderr)
