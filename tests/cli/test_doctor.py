"""``llmb doctor``: what a report of a fault needs, and nothing private."""

import json
import re

import pytest

from llmbuilder_cli.diagnosis import self_test, without_folders


def test_the_report_has_machine_runtime_packages_and_a_self_test(llmb):
    result = llmb("doctor", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["self-test"] == "passed"
    assert "CPUExecutionProvider" in found["providers"]
    assert found["threads"] >= 1
    assert found["memory free"] > 0
    assert found["packages"]["numpy"]
    assert "pytest" not in found["packages"]


def test_lines_say_the_same(llmb):
    lines = llmb("doctor").stdout.splitlines()
    assert lines[0].startswith("llmbuilder-runtime ")
    assert lines[-1].split() == ["self-test", "passed"]


def test_nothing_private_is_in_it(process, tmp_path):
    home = tmp_path / "mallory-home"
    home.mkdir()
    private = {"HOME": str(home), "USER": "mallory", "LOGNAME": "mallory", "LLMB_API_KEY": "sk-mallory"}
    result = process("doctor", environment=private)
    assert result.returncode == 0
    assert "mallory" not in result.stdout + result.stderr
    assert re.findall(r"(?:^|\s)[~/][\w./-]*/", result.stdout) == []


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("cannot load /opt/ai/lib.so: no such file", "cannot load .../lib.so: no such file"),
        ("'/home/mallory/x y'", "'.../x y'"),
        (r"C:\Users\mallory\lib.dll is gone", ".../lib.dll is gone"),
        ("1/2 and/or llmbuilder-runtime[cpu]", "1/2 and/or llmbuilder-runtime[cpu]"),
    ],
)
def test_messages_lose_their_folders(message, kept):
    assert without_folders(message) == kept


def test_a_self_test_that_fails_says_why_and_ends_with_1(llmb, monkeypatch):
    def broken():
        raise ArithmeticError("/opt/x/y is broken")

    monkeypatch.setattr("llmbuilder_cli.diagnosis._compute", broken)
    assert self_test() == "FAILED: ArithmeticError: .../y is broken"
    result = llmb("doctor")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout


def test_it_works_where_onnx_runtime_is_missing(llmb, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    found = json.loads(llmb("doctor", "--json").stdout)
    assert found["providers"] == []
    assert found["self-test"].startswith("FAILED")


def test_it_says_where_exports_run_and_that_our_files_are_ours(llmb, monkeypatch):
    monkeypatch.setattr("llmbuilder.distribution.changed_files", list)
    monkeypatch.setattr("llmbuilder.bundle.exporter.can_export", lambda: True)
    found = json.loads(llmb("doctor", "--json").stdout)
    assert found["files"] == "as installed"
    assert found["exporter"] == "in this environment"


def test_files_that_another_package_has_changed_are_named(llmb, monkeypatch):
    changed = [f"llmbuilder/{name}.py" for name in "abcdefg"]
    monkeypatch.setattr("llmbuilder.distribution.changed_files", lambda: changed)
    found = json.loads(llmb("doctor", "--json").stdout)
    assert found["files"].startswith("NOT as installed: llmbuilder/a.py, llmbuilder/b.py")
    assert found["files"].endswith("llmbuilder/e.py (7 in all)")
