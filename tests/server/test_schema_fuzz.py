"""Schemathesis asks for whatever the schema allows, and for what it does not: every answer is as the schema says."""

import subprocess
import sys
from pathlib import Path

import pytest
from listening import listening

FOLDER = Path(__file__).parents[2] / ".cache" / "schemathesis"
PACKAGE = "schemathesis==4.32.5"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 400
"""Of each address in the phase that draws them."""


@pytest.fixture
def schemathesis():
    """The program, in an environment of its own, which is made if it is not there."""
    program = FOLDER / "bin" / "schemathesis"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    subprocess.run([FOLDER / "bin" / "pip", "install", "--quiet", PACKAGE], check=True)
    return program


@pytest.mark.prove
def test_every_answer_is_as_the_schema_says(schemathesis, tmp_path, record_proof):
    with listening(running_seconds=1.0, schema_seconds=5.0) as address:
        options = [f"--max-examples={EXAMPLES}", "--seed=1", "--checks", CHECKS]
        done = subprocess.run(
            [
                schemathesis,
                "run",
                f"{address}/openapi.json",
                *options,
                "--phases",
                "examples,coverage,fuzzing",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    record_proof("schemathesis", summary=done.stdout.splitlines()[-12:])
    assert done.returncode == 0, done.stdout[-20_000:]
