"""Environment variables and the user's file: which comes first, and what is said of what they cannot hold."""

import json
from pathlib import Path

import pytest

DEMO = Path("artifacts/storyteller/bundle")
FILE = """
model = "/models/mine"
threads = 3
device = "cpu"

[generation]
top_k = 7
temperature = 0
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the user's file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "llmbuilder" / "config.toml"
    path.parent.mkdir()
    return lambda text: path.write_text(text) and path


@pytest.fixture
def seen(monkeypatch):
    """The generation options of the last text."""
    options = {}

    def pieces(_, prompt, **overrides):
        options.clear()
        options.update(overrides)
        yield ""

    monkeypatch.setattr("llmbuilder.generator.TextGenerator.pieces", pieces)
    return options


def test_the_users_file_says_model_threads_device_and_options(llmb, opened, write, seen):
    write(FILE)
    assert llmb("generate", "-p", "x").exit_code == 0
    assert opened == [{"model": Path("/models/mine"), "tokenizer": None, "device": "cpu", "threads": 3}]
    assert seen == {"top_k": 7, "do_sample": False}


def test_the_environment_comes_before_the_users_file(llmb, opened, write, monkeypatch):
    write(FILE)
    for name, value in {"MODEL": "of the shell", "THREADS": "2", "DEVICE": "auto"}.items():
        monkeypatch.setenv(f"LLMB_{name}", value)
    assert llmb("generate", "-p", "x", "--greedy").exit_code == 0
    assert opened == [{"model": Path("of the shell"), "tokenizer": None, "device": "auto", "threads": 2}]


def test_a_flag_comes_before_all(llmb, opened, write, seen, monkeypatch):
    write(FILE)
    monkeypatch.setenv("LLMB_MODEL", "of the shell")
    monkeypatch.setenv("LLMB_THREADS", "2")
    arguments = ("--threads", "1", "--device", "cuda", "--temperature", "0.5", "--set", "top_k=9")
    llmb("generate", "mine", "-p", "x", *arguments)
    assert opened == [{"model": Path("mine"), "tokenizer": None, "device": "cuda", "threads": 1}]
    assert seen == {"top_k": 9, "temperature": 0.5}


@pytest.mark.parametrize(
    "command",
    [("chat",), ("generate", "batch", "in.jsonl", "out.jsonl"), ("generate", "-p", "x")],
    ids=" ".join,
)
def test_every_command_that_generates_takes_the_model_of_the_environment(
    llmb, opened, monkeypatch, tmp_path, command
):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"prompt": "x"}\n')
    monkeypatch.setenv("LLMB_MODEL", "of the shell")
    llmb(*command, "--greedy", stdin="/quit\n")
    assert [call["model"] for call in opened] == [Path("of the shell")]


@pytest.mark.parametrize("command", ["info", "verify", "bench", "compare", "serve"])
def test_every_command_that_opens_a_model_takes_the_model_of_the_environment(llmb, monkeypatch, command):
    monkeypatch.setenv("LLMB_MODEL", "/nowhere/at/all")
    more = {"compare": ["-p", "x", "--config", "seed=1"]}
    result = llmb(command, *more.get(command, []))
    assert "/nowhere/at/all" in str(result.exception)


@pytest.mark.parametrize("command", [("info",), ("verify",), ("bench",), ("chat",), ("serve",)], ids=" ".join)
def test_a_command_without_any_model_is_wrong_usage(llmb, opened, command):
    result = llmb(*command)
    assert result.exit_code == 2
    assert "LLMB_MODEL" in result.stderr


def test_a_file_of_the_working_directory_is_never_read(llmb, opened, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text('model = "/not/this"')
    (tmp_path / "llmbuilder").mkdir()
    (tmp_path / "llmbuilder" / "config.toml").write_text('model = "/not/this"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    assert llmb("generate", "-p", "x").exit_code == 2


def test_another_file_is_named_by_a_variable(llmb, opened, write, tmp_path, monkeypatch):
    write(FILE)
    (tmp_path / "other.toml").write_text("threads = 5")
    monkeypatch.setenv("LLMB_CONFIG", str(tmp_path / "other.toml"))
    llmb("generate", "bundle", "-p", "x", "--greedy")
    assert opened[0]["threads"] == 5


def test_a_named_file_that_is_not_there_is_told(llmb, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMB_CONFIG", str(tmp_path / "gone.toml"))
    result = llmb("generate", "bundle", "-p", "x")
    assert result.exit_code == 1
    assert "LLMB_CONFIG names" in str(result.exception)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("model = ", "is not TOML"),
        ('modle = "x"', "unknown key 'modle'. Did you mean 'model'?"),
        ("colour = 1", "There are model, threads, device, generation."),
        ("model = 3", "model must be a path, got 3"),
        ('model = "model-onnx"', "model must be a whole path"),
        ("threads = 0", "threads must be a whole number from 1"),
        ('device = "gpu"', "device must be 'auto'"),
        ("generation = 3", "generation must be a table"),
        ("[generation]\ntemprature = 1", "unknown key 'generation.temprature'. Did you mean 'temperature'?"),
        ("[generation]\ntop_p = 2", "generation.top_p must be a number above 0 and at most 1"),
    ],
)
def test_bad_content_is_told_with_file_and_key(llmb, opened, write, content, complaint):
    path = write(content)
    result = llmb("generate", "bundle", "-p", "x")
    assert result.exit_code == 1
    assert str(path) in str(result.exception)
    assert complaint in str(result.exception)


def test_bad_environment_is_wrong_usage(llmb, opened, monkeypatch):
    monkeypatch.setenv("LLMB_THREADS", "many")
    result = llmb("generate", "bundle", "-p", "x")
    assert result.exit_code == 2
    assert "LLMB_THREADS" in result.stderr


def test_config_shows_each_value_with_its_origin(llmb, write, monkeypatch):
    path = str(write('threads = 2\ndevice = "cpu"\n[generation]\ntemperature = 0\ntop_k = 7'))
    monkeypatch.setenv("LLMB_MODEL", str(DEMO))
    monkeypatch.setenv("LLMB_DEVICE", "cuda:1")
    content = json.loads(llmb("config", "--json").stdout)
    assert content["file"] == path
    assert content["settings"] == {
        "model": {"value": str(DEMO), "origin": "LLMB_MODEL"},
        "threads": {"value": 2, "origin": path},
        "device": {"value": "cuda:1", "origin": "LLMB_DEVICE"},
    }
    assert content["generation"]["top_k"] == {"value": 7, "origin": path}
    assert content["generation"]["do_sample"] == {"value": False, "origin": path}
    assert content["generation"]["top_p"] == {"value": 0.9, "origin": "built in"}


def test_config_shows_the_bundles_own_options(llmb, write, tmp_path, monkeypatch):
    write("[generation]\ntop_k = 7")
    monkeypatch.setattr("llmbuilder.bundle.opening.is_bundle", lambda _: True)
    monkeypatch.setattr(
        "llmbuilder.bundle.reading.read_manifest",
        lambda _: type("Manifest", (), {"generation": {"top_k": 5, "top_p": 0.5}}),
    )
    result = llmb("config", tmp_path)
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert lines["top_k"][1] == "7"
    assert lines["top_p"][1:] == ["0.5", "bundle"]
    assert lines["model"][-2:] == ["command", "line"]
    assert lines["threads"][1:] == ["none", "built", "in"]


def test_config_of_a_new_user_says_where_the_file_would_be(llmb, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    result = llmb("config")
    assert result.exit_code == 0
    assert f"{tmp_path / 'llmbuilder' / 'config.toml'} (there is none)" in result.stdout
