"""The program as a whole: help, exit codes, errors."""

import os
import subprocess
import sys
from importlib import metadata

import pytest

from llmbuilder.config import generation_options
from llmbuilder.errors import BundleError
from llmbuilder_cli.options import FLAGS
from llmbuilder_cli.report import report_error


@pytest.mark.parametrize(
    "command",
    [(), ("export",), ("generate",), ("generate", "text"), ("info",), ("bench",), ("verify",)],
    ids=" ".join,
)
def test_every_command_explains_itself(llmb, command):
    result = llmb(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")


def test_help_loads_nothing_slow():
    program = (
        "import sys\n"
        "from llmbuilder_cli.main import app\n"
        "app(['generate', 'text', '--help'], standalone_mode=False)\n"
        "slow = {'numpy', 'onnxruntime', 'rich', 'torch'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_version_is_that_of_the_distribution(llmb):
    assert llmb("--version").stdout == f"llmbuilder-runtime {metadata.version('llmbuilder-runtime')}\n"


@pytest.mark.parametrize("arguments", [("paint",), ("info",), ("info", "--colour")], ids=" ".join)
def test_wrong_usage_exits_with_2(program, arguments):
    result = program(*arguments)
    assert result.returncode == 2
    assert "Error:" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_error_is_one_line_and_exit_code_1(program, tmp_path):
    result = program("info", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {tmp_path} is not a bundle")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def installed(folder):
    """An environment in which packages are found in a folder first."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_upstream_in_the_same_environment_is_refused_with_advice(process, tmp_path):
    upstream = tmp_path / "llmbuilder-2.0.0.dist-info"
    upstream.mkdir()
    (upstream / "METADATA").write_text("Metadata-Version: 2.1\nName: llmbuilder\nVersion: 2.0.0\n")
    result = process("info", "bundle", environment=installed(tmp_path))
    assert result.returncode == 1
    assert "llmbuilder 2.0.0" in result.stderr
    assert "pip uninstall" in result.stderr
    assert result.stderr.count("\n") == 1


def test_upstream_that_has_taken_our_place_is_refused_with_advice(process, tmp_path):
    """It is what `import llmbuilder` finds if it was installed last; it needs torch."""
    info = tmp_path / "llmbuilder-2.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llmbuilder\nVersion: 2.0.0\n")
    (tmp_path / "llmbuilder").mkdir()
    (tmp_path / "llmbuilder" / "__init__.py").write_text("import no_torch_here")
    for command in (["info", "bundle"], ["generate", "text", "-m", "bundle", "-p", "x"]):
        result = process(*command, environment=installed(tmp_path))
        assert result.returncode == 1
        assert "pip uninstall llmbuilder llmbuilder-runtime" in result.stderr
        assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(program, tmp_path):
    result = program("--debug", "info", tmp_path)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "BundleError" in result.stderr


def test_a_message_of_several_lines_becomes_one(capsys):
    report_error(BundleError, BundleError("first,\n  second"), None)
    assert capsys.readouterr().err == "Error: first, second\n"


def test_a_bug_is_told_from_a_foreseen_error(capsys):
    report_error(KeyError, KeyError("heads"), None)
    assert capsys.readouterr().err == "Unexpected KeyError: 'heads' (`llmb --debug` shows where)\n"


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "x"), ImportError("No module named 'torch'")]
)
def test_what_the_system_lacks_is_no_bug(capsys, error):
    report_error(type(error), error, None)
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_flags_are_of_options_that_exist_and_of_their_types():
    options = generation_options()
    wrong = {
        name: options[name].type
        for name, flag in FLAGS.items()
        if getattr(flag.kind, "__name__", "") not in options[name].type.replace("tuple", "list")
    }
    assert wrong == {}
