"""The program as a whole: help, exit codes, errors."""

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata

import pytest

from llmbuilder.config import generation_options
from llmbuilder.errors import BundleError
from llmbuilder_cli.helping import FILTER, FORM, STYLE
from llmbuilder_cli.options import FLAGS
from llmbuilder_cli.report import report_error
from llmbuilder_cli.table import COMMANDS, GENERATE


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
    assert "LLMBuilder 2.0.0" in result.stderr
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
        assert "pip uninstall --yes llmbuilder-runtime" in result.stderr
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


def test_the_defaults_that_help_shows_are_those_there_are():
    shown = {name: None if flag.default == "none" else float(flag.default) for name, flag in FLAGS.items()}
    assert shown == {name: generation_options()[name].default for name in FLAGS}


ALL = COMMANDS | GENERATE
EXAMPLES = [example for entry in ALL.values() for example in entry.examples]


@pytest.mark.parametrize("name", [name for name in ALL if name != "generate"])
def test_the_help_of_all_commands_says_what_that_of_each_begins_with(name):
    function = getattr(importlib.import_module(f"llmbuilder_cli.commands.{name}"), name)
    assert ALL[name].summary == " ".join(inspect.getdoc(function).partition("\n\n")[0].split())


def test_a_run_imports_no_command_but_its_own():
    program = (
        "import sys\n"
        "from llmbuilder_cli.main import app\n"
        "try:\n    app(['chat', '--help'])\n"
        "finally:\n    print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    commands = {name.removeprefix("llmbuilder_cli.commands.") for name in loaded} & set(ALL)
    assert commands == {"chat"}
    assert loaded & {"pydantic", "importlib.metadata", "email"} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("generate", "m", "--seed", "hot"),
            "Invalid value for '--seed': 'hot' is no whole number. Give one",
        ),
        (("chat", "m", "--temperature", "hot"), "'hot' is no number. Give one, such as 0.7."),
        (("export", "m", "--quantize", "int5"), "There is no 'int5'. Give none or int8 or int4"),
        (("compare", "m", "-p", "x", "--samples", "0"), "0 is too little. Give at least 1."),
        (("serve", "m", "--port", "70000"), "70000 is too much. Give at most 65535."),
        (("compare", "m"), "Missing --prompt / -p: What all samples continue."),
        (("export",), "Missing SOURCE: LLMBuilder checkpoint"),
        (("generate", "batch"), "Missing [MODEL] IN.jsonl OUT.jsonl: The model"),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_values_of_a_wrong_kind_are_told_in_our_words(llmb, arguments, message):
    result = llmb(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_number_of_the_environment_is_read_as_a_flag_is(llmb, monkeypatch):
    monkeypatch.setenv("LLMB_THREADS", "many")
    result = llmb("verify", "m")
    assert result.exit_code == 2
    assert "'many' is no whole number" in result.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_help_is_one_of_its_command(llmb, example):
    words = shlex.split(example.partition(" < ")[0])[1:]
    result = llmb(*words, "--help")
    assert result.exit_code == 0, result.stderr
    assert example in result.stdout


def test_every_command_has_an_example():
    assert len(EXAMPLES) >= 12


def test_help_groups_the_options(llmb):
    lines = llmb("generate", "text", "--help").stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Arguments:",
        "Options:",
        "Machine:",
        *(f"{each}:" for each in (FORM, STYLE, FILTER)),
        "Generation:",
    ]
    assert "(the model's, else 0.8)" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("llmb ev", {"evaluate"}),
        ("llmb generate ", {"batch", "text"}),
        ("llmb generate text --te", {"--temperature"}),
        ("llmb generate model --te", {"--temperature"}),
        ("llmb chat --see", {"--seed"}),
    ],
)
def test_shells_complete_commands_and_options(line, completions):
    program = "import sys; sys.argv[0] = 'llmb'; from llmbuilder_cli.main import main; main()"
    asked = {"_LLMB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(result.stdout.split()) == completions


def test_usage_shows_the_files_of_a_batch_as_they_are_typed(llmb):
    usage = llmb("generate", "batch", "--help").stdout
    assert "generate batch [OPTIONS] [MODEL] IN.jsonl OUT.jsonl" in " ".join(usage.split())


@pytest.mark.parametrize("name", [name for name in ALL if name != "generate"])
def test_arguments_are_shown_as_they_are_typed_in_capitals_or_choices(llmb, name):
    shown = llmb(*(["generate"] if name in GENERATE else []), name, "--help").stdout
    usage = shown.partition("\n\n")[0].partition("[OPTIONS]")[2]
    section = shown.partition("Arguments:\n")[2].partition("\n\n")[0]
    assert not set("{}<>") & set(usage + section)
    words = re.findall(r"[A-Za-z][\w.|]*", usage)
    assert all(word.isupper() or "|" in word or word.endswith(".jsonl") for word in words), words


@pytest.mark.parametrize(("flag", "name"), [("--num-beams", "num_beams"), ("--typical_p=1", "typical_p")])
def test_an_option_that_has_no_flag_is_told_how_to_set(llmb, flag, name):
    result = llmb("generate", "bundle", "-p", "x", flag)
    assert result.exit_code == 2
    assert f"Write: --set {name}=VALUE" in result.stderr


def test_an_option_of_nothing_stays_one(llmb):
    assert "No such option: --colour" in llmb("generate", "bundle", "--colour").stderr
    assert "No such option: --num-beams" in llmb("info", "bundle", "--num-beams").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--temperature", "-1"),
            "--temperature must be a number above 0 (1e-30 to 1e30); for greedy decoding give 0",
        ),
        (("--set", "num_beams=0"), "--set: num_beams must be a whole number from 1"),
        (
            ("--set", "num_beems=2"),
            "--set: there is no generation option 'num_beems'. Did you mean 'num_beams'?",
        ),
        (("--set", "colour=2"), "`llmb config` lists all"),
    ],
)
def test_messages_name_what_was_typed(llmb, opened, arguments, message):
    result = llmb("generate", "bundle", "-p", "x", *arguments)
    assert result.exit_code == 1
    assert message in str(result.exception)
    assert opened == []


def test_several_texts_need_json(llmb, opened):
    result = llmb("generate", "bundle", "-p", "x", "--set", "num_return_sequences=2")
    assert result.exit_code == 2
    assert "--json" in result.stderr


def test_flags_are_of_options_that_exist_and_of_their_types():
    options = generation_options()
    wrong = {
        name: options[name].type
        for name, flag in FLAGS.items()
        if getattr(flag.kind, "__name__", "") not in options[name].type.replace("tuple", "list")
    }
    assert wrong == {}
