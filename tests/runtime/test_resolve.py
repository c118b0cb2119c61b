import contextlib
import shutil
import signal
import sys
from pathlib import Path

import pytest

from llmbuilder.bundle import exporter as exporting
from llmbuilder.bundle.resolve import checkpoint_in, default_output, find_bundle
from llmbuilder.errors import BundleError, ExportError, ModelNotFoundError
from llmbuilder.userdata import cache_directory, file_sha256


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in a folder of its own."""
    path = tmp_path / "my model" / "model.pt"
    path.parent.mkdir()
    path.write_bytes(b"checkpoint")
    return path


@pytest.fixture
def exporter(monkeypatch, make_bundle):
    """An exporter that writes a bundle; ``calls`` holds its command lines."""

    def run(command, stdout):
        run.calls.append(command)
        if run.fails:
            return 1
        output = Path(command[command.index("--output") + 1])
        make_bundle(output, source_sha256=file_sha256(Path(command[3])))
        return 0

    run.calls, run.fails = [], False
    monkeypatch.setattr("llmbuilder.bundle.resolve.run", run)
    monkeypatch.setattr("llmbuilder.bundle.resolve.exporter", lambda: ["python"])
    return run


@pytest.fixture
def no_exporter(monkeypatch):
    monkeypatch.setattr("llmbuilder.bundle.resolve.exporter", lambda: None)


def cached(checkpoint):
    return cache_directory() / "bundles" / file_sha256(checkpoint)


def test_a_bundle_is_found_where_it_is(make_bundle):
    directory = make_bundle()
    assert find_bundle(directory, None) == directory


def test_a_folder_of_llmbuilders_stands_for_the_bundle_in_it(make_bundle, tmp_path):
    make_bundle().rename(tmp_path / "model-onnx")
    assert find_bundle(tmp_path, None) == tmp_path / "model-onnx"


def test_a_folder_of_llmbuilders_stands_for_the_checkpoint_in_it(make_bundle, tmp_path, no_exporter):
    make_bundle().rename(tmp_path / "model-onnx")  # of another checkpoint
    (tmp_path / "model.pt").write_bytes(b"weights")
    with pytest.raises(ModelNotFoundError, match=r"model\.pt is a checkpoint and must be exported once"):
        find_bundle(tmp_path, None)


def test_nothing_there_is_a_missing_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no model at .*gone\.pt.*llmb export"):
        find_bundle(tmp_path / "gone.pt", None)


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        find_bundle(tmp_path, None)


def test_a_hugging_face_directory_says_how_to_export_it(tmp_path):
    source = tmp_path / "my model"
    source.mkdir()
    (source / "config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match=f"Run: llmb export '{source}'"):
        find_bundle(source, None)


def test_the_bundle_of_a_checkpoint_belongs_beside_it():
    assert default_output(Path("model/model.pt")) == Path("model/model-onnx").absolute()
    assert default_output(Path()) == Path.cwd().with_name(f"{Path.cwd().name}-onnx")


def test_the_bundle_beside_a_checkpoint_is_used(checkpoint, make_bundle, no_exporter):
    beside = make_bundle(default_output(checkpoint), source_sha256=file_sha256(checkpoint))
    assert find_bundle(checkpoint, None) == beside


def test_a_bundle_in_the_cache_is_used(checkpoint, make_bundle, no_exporter):
    make_bundle(cached(checkpoint), source_sha256=file_sha256(checkpoint))
    assert find_bundle(checkpoint, None) == cached(checkpoint)


@pytest.mark.parametrize("source", [None, "0" * 64])
def test_a_bundle_of_another_checkpoint_is_not_used(checkpoint, make_bundle, no_exporter, source):
    make_bundle(default_output(checkpoint), source_sha256=source)
    with pytest.raises(ModelNotFoundError, match="must be exported"):
        find_bundle(checkpoint, None)


def test_a_bundle_is_stale_once_its_checkpoint_changes(checkpoint, make_bundle, no_exporter):
    make_bundle(default_output(checkpoint), source_sha256=file_sha256(checkpoint))
    find_bundle(checkpoint, None)
    checkpoint.write_bytes(b"trained some more")
    with pytest.raises(ModelNotFoundError, match="must be exported"):
        find_bundle(checkpoint, None)


def test_a_damaged_manifest_beside_a_checkpoint_is_passed_over(checkpoint, no_exporter):
    default_output(checkpoint).mkdir()
    (default_output(checkpoint) / "manifest.json").write_text("{")
    with pytest.raises(ModelNotFoundError, match="must be exported"):
        find_bundle(checkpoint, None)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "tokenizer.model"])
def test_a_file_of_a_bundle_is_no_checkpoint(make_bundle, exporter, name):
    directory = make_bundle()
    with pytest.raises(ModelNotFoundError, match=rf"{name} is a file of a bundle.*directory, {directory},"):
        find_bundle(directory / name, None)


def test_a_checkpoint_beside_another_programs_manifest_is_exported(checkpoint, exporter):
    checkpoint.with_name("manifest.json").write_text("{}")
    assert find_bundle(checkpoint, None) == default_output(checkpoint)


@pytest.mark.parametrize(
    ("tokenizer", "named"), [(None, ""), (Path("my tokenizer"), " --tokenizer 'my tokenizer'")]
)
def test_without_exporter_the_error_names_the_exact_command(checkpoint, no_exporter, tokenizer, named):
    with pytest.raises(ModelNotFoundError) as caught:
        find_bundle(checkpoint, tokenizer)
    assert str(caught.value).endswith(f"then: llmb export '{checkpoint}'{named}")


def test_a_checkpoint_is_exported_once_beside_itself(checkpoint, exporter, capsys):
    beside = default_output(checkpoint)
    assert find_bundle(checkpoint, Path("tokenizer")) == beside
    assert find_bundle(checkpoint, Path("tokenizer")) == beside
    assert exporter.calls == [
        [
            *("python", "-m", "llmbuilder_export", str(checkpoint)),
            *("--output", str(beside), "--tokenizer", "tokenizer"),
        ]
    ]
    shown = capsys.readouterr()
    assert shown.err == f"Exporting {checkpoint} to {beside}, once.\n"
    assert shown.out == ""


def test_the_exporter_finds_the_tokenizer_itself_if_none_is_given(checkpoint, exporter):
    find_bundle(checkpoint, None)
    assert "--tokenizer" not in exporter.calls[0]


def test_a_stale_bundle_is_left_alone_and_the_new_one_goes_to_the_cache(checkpoint, exporter, make_bundle):
    make_bundle(default_output(checkpoint), source_sha256="0" * 64)
    assert find_bundle(checkpoint, None) == cached(checkpoint)


def test_from_a_read_only_folder_a_checkpoint_is_exported_to_the_cache(checkpoint, exporter, monkeypatch):
    monkeypatch.setattr("llmbuilder.bundle.resolve.os.access", lambda path, mode: False)
    assert find_bundle(checkpoint, None) == cached(checkpoint)
    assert not default_output(checkpoint).exists()


def test_a_bundle_another_process_has_just_made_is_taken(checkpoint, exporter, make_bundle, monkeypatch):
    class Lock:
        """Someone else exports while this process waits for the lock."""

        def __init__(self, path):
            pass

        def acquire(self):
            return self

        def __enter__(self):
            make_bundle(default_output(checkpoint), source_sha256=file_sha256(checkpoint))

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("filelock.FileLock", Lock)
    assert find_bundle(checkpoint, None) == default_output(checkpoint)
    assert exporter.calls == []


def test_a_failed_export_names_the_command_to_see_why(checkpoint, exporter):
    exporter.fails = True
    with pytest.raises(ExportError, match=r"failed.*Run: llmb export '.*model\.pt'$"):
        find_bundle(checkpoint, None)


@pytest.mark.parametrize("is_current", [True, False])
def test_what_an_export_puts_back_is_used_or_left_alone(
    checkpoint, exporter, make_bundle, monkeypatch, is_current
):
    """An export that was killed between its two renames has left the old bundle aside."""
    beside = default_output(checkpoint)

    def put_back(command, stdout):
        if beside.exists():
            return exporter(command, stdout)
        make_bundle(beside, source_sha256=file_sha256(checkpoint) if is_current else "0" * 64)
        return 1  # because it exists

    monkeypatch.setattr("llmbuilder.bundle.resolve.run", put_back)
    assert find_bundle(checkpoint, None) == (beside if is_current else cached(checkpoint))
    assert beside.exists()


@pytest.mark.parametrize("fails", [False, True])
def test_no_lock_is_left_behind(checkpoint, exporter, fails):
    exporter.fails = fails
    with contextlib.suppress(ExportError):
        find_bundle(checkpoint, None)
    assert [path.name for path in checkpoint.parent.iterdir() if path.name.startswith(".")] == []


INTERRUPTING = """
import os, signal, sys
from pathlib import Path

def end(*_):
    Path(sys.argv[1]).unlink()
    sys.exit(1)

signal.signal(signal.SIGTERM, end)
Path(sys.argv[1]).touch()
os.kill(os.getppid(), signal.SIGUSR1)
signal.pause()
"""


def run_interrupted(program, half):
    """Run a program that makes the file ``half`` and then has this process stopped."""
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit):
            exporting.run([sys.executable, "-c", program, str(half)])
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_exporter_may_clean_up_when_its_caller_is_stopped(tmp_path):
    run_interrupted(INTERRUPTING, tmp_path / "half a bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("llmbuilder.bundle.exporter._PATIENCE", 0.1)
    run_interrupted(
        INTERRUPTING.replace("SIGTERM, end", "SIGTERM, signal.SIG_IGN"), tmp_path / "half a bundle"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["half a bundle"]


def test_an_exporter_keeps_off_standard_output(capfd):
    assert (
        exporting.run([sys.executable, "-c", "print('progress'); raise SystemExit(3)"], exporting.STDERR) == 3
    )
    assert capfd.readouterr() == ("", "progress\n")


def test_an_export_needs_no_writable_cache(checkpoint, exporter, cache_home):
    shutil.rmtree(cache_home)
    cache_home.write_bytes(b"a file where the directory should be")
    assert find_bundle(checkpoint, None) == default_output(checkpoint)


@pytest.mark.parametrize("missing", ["llmbuilder_export", "torch", "onnxscript", None])
def test_exporting_needs_the_exporter_and_its_libraries(monkeypatch, missing):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    assert exporting.can_export() is (missing is None)


def test_of_a_folder_its_checkpoint_is_exported_unless_it_is_hugging_faces(tmp_path):
    assert checkpoint_in(tmp_path) == tmp_path
    (tmp_path / "model.pt").touch()
    assert checkpoint_in(tmp_path) == tmp_path / "model.pt"
    assert checkpoint_in(tmp_path / "model.pt") == tmp_path / "model.pt"
    (tmp_path / "config.json").touch()
    assert checkpoint_in(tmp_path) == tmp_path
