"""The long proofs: each belongs to a part, and a part is run again only when what it depends on has changed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import prove
import pytest

ROOT = Path(__file__).parent.parent
PARTS = prove.read_parts()
LONGER_AS_PROOF = ("proving", "record_proof", "mark.prove", "option.prove")


def test_every_test_that_is_longer_as_a_proof_is_in_a_part():
    proved = [ROOT / argument for part in PARTS.values() for argument in part.pytest]
    forgotten = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__)
        and any(word in path.read_text(encoding="utf-8") for word in LONGER_AS_PROOF)
        and not any(path.is_relative_to(place) for place in proved)
    ]
    assert forgotten == []


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_what_a_part_names_is_there(part):
    files = [word for word in (*part.pytest, *part.program[:1]) if word.endswith(".py")]
    assert [name for name in [*files, *part.depends] if not (ROOT / name).exists()] == []


def test_every_result_is_that_of_a_part():
    assert {path.stem for path in prove.RESULTS.glob("*.json")} <= set(PARTS)


def test_a_part_without_a_command_is_refused(tmp_path):
    (tmp_path / "proofs.toml").write_text("[idle]\n")
    with pytest.raises(ValueError, match="Part idle"):
        prove.read_parts(tmp_path / "proofs.toml")


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A part in a repository of its own: its program measures, and fails if ``code.txt`` says so."""
    for name, folder in {"ROOT": ".", "RESULTS": "results", "LOGS": "logs"}.items():
        monkeypatch.setattr(prove, name, tmp_path / folder)
    (tmp_path / ".gitignore").write_text("logs\nresults\nvenv\n")
    (tmp_path / "code.txt").write_text("good")
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from pathlib import Path\n"
        'Path(sys.argv[1].removeprefix("--results=")).write_text(\'{"kills": 3}\')\n'
        'sys.exit(Path("code.txt").read_text() == "bad")\n'
    )
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init"], ["add", "."], [*who, "commit", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    return prove.Part("kills", environment="venv", program=("program.py",), depends=("code.txt",))


def result():
    return json.loads((prove.RESULTS / "kills.json").read_text(encoding="utf-8"))


def test_a_proof_is_kept_with_what_it_measured_and_its_commit(part):
    assert not prove.is_proved(part)
    assert prove.prove(part)
    assert prove.is_proved(part)
    assert result()["measured"] == {"kills": 3}
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=prove.ROOT, capture_output=True, text=True, check=True
    )
    assert head.stdout.startswith(result()["commit"])


def test_it_holds_until_what_it_depends_on_changes(part):
    assert prove.prove(part)
    (prove.ROOT / "README.md").write_text("something else")
    assert prove.is_proved(part)
    (prove.ROOT / "code.txt").write_text("better")
    assert not prove.is_proved(part)
    assert prove.prove(part)
    assert result()["commit"].endswith("-dirty")


def test_a_failure_is_kept_but_proves_nothing(part):
    (prove.ROOT / "code.txt").write_text("bad")
    assert not prove.prove(part)
    assert not prove.is_proved(part)
    assert result()["passed"] is False


def test_what_changes_while_it_is_proved_is_not_proved(part):
    whole = replace(part, depends=(".",))
    (prove.ROOT / "program.py").write_text('open("code.txt", "a").write("!")')
    assert not prove.prove(whole)
    assert not prove.is_proved(whole)


def test_a_failed_run_among_several_fails_them_all(tmp_path):
    results = tmp_path / "results.json"
    repeat = [sys.executable, str(ROOT / "scripts" / "repeat.py"), "--times=2", f"--results={results}"]
    script = "import os, sys; sys.exit(os.path.exists('seen') or open('seen', 'w').close())"
    done = subprocess.run([*repeat, sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == 1
    measured = json.loads(results.read_text(encoding="utf-8"))
    assert (measured["runs"], measured["failed"]) == (2, 1)
