import os
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

import llmbuilder
import llmbuilder.inference
from llmbuilder import errors
from llmbuilder._upstream import refuse_upstream
from llmbuilder_export import upstream


def test_the_package_lists_its_public_names():
    assert set(dir(llmbuilder)) == set(llmbuilder.__all__)


def test_every_documented_name_and_every_error_is_there():
    modules = {"errors": errors, "inference": llmbuilder.inference}
    documented = {name: getattr(llmbuilder.inference, name) for name in llmbuilder.inference.__all__}
    found = {name: getattr(llmbuilder, name) for name in llmbuilder.__all__}
    assert found == {**documented, **every_error(), **modules, "__version__": llmbuilder.__version__}


def test_the_package_tells_its_version():
    assert llmbuilder.__version__ == metadata.version("llmbuilder-runtime")


def test_a_copy_that_nobody_installed_has_no_version(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert llmbuilder.__version__ == "0+unknown"


def test_errors_and_version_are_there_without_anything_heavy():
    program = (
        "import sys, llmbuilder as lb; lb.__version__, lb.errors, issubclass(lb.ConfigError, ValueError); "
        "assert not {'numpy', 'onnxruntime', 'llmbuilder.inference'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["generate_txt", "numpy", "inference_engine"])
def test_other_names_are_attribute_errors(name):
    with pytest.raises(AttributeError, match=name):
        getattr(llmbuilder, name)


def test_a_public_name_is_loaded_when_it_is_used():
    program = (
        "import sys, llmbuilder as lb; assert 'numpy' not in sys.modules; "
        "lb.generate_text; assert 'numpy' in sys.modules and 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_onnx_runtime_reports_nothing_to_anybody(tmp_path):
    """From 1.29 on it does, and leaves an id in the user's cache folder, unless it is told not to, or is in a CI."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "USERPROFILE", "LOCALAPPDATA")}
    environment = {name: os.environ[name] for name in kept if name in os.environ} | home
    command = [sys.executable, "-c", "import llmbuilder, onnxruntime"]
    subprocess.run(command, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_who_wants_onnx_runtimes_reports_can_have_them():
    program = "import os, llmbuilder; assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'"
    subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"ORT_DISABLE_TELEMETRY": "0"}, check=True
    )


def test_the_upstream_package_beside_ours_is_refused_with_advice(monkeypatch):
    versions = {"llmbuilder": "2.0.0"}
    monkeypatch.setattr("llmbuilder.installed.version", versions.get)
    monkeypatch.setattr("llmbuilder.installed.has", versions.__contains__)
    with pytest.raises(
        ImportError,
        match=r"^LLMBuilder 2\.0\.0.*pip uninstall --yes llmbuilder-runtime.*\"llmbuilder==2\.0\.0\"",
    ):
        refuse_upstream()


def test_the_exporter_says_the_same(monkeypatch):
    """It cannot ask the runtime, whose place upstream's package may have taken."""
    monkeypatch.setattr(metadata, "version", lambda name: {"llmbuilder": "2.0.0"}[name])
    monkeypatch.setattr("llmbuilder.installed.has", lambda name: name == "llmbuilder")
    monkeypatch.setattr("llmbuilder_export.upstream._may_hold_it", lambda _: True)
    with pytest.raises(ImportError) as ours:
        refuse_upstream()
    with pytest.raises(ImportError) as exporters:
        upstream.refuse_upstream()
    assert str(exporters.value) == str(ours.value)


@pytest.fixture
def no_upstream(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)


def test_without_it_nothing_is_refused(no_upstream):
    refuse_upstream()
    upstream.refuse_upstream()


@pytest.mark.parametrize("left", [None, SimpleNamespace(origin=None)], ids=["nothing", "a folder"])
def test_what_pip_left_of_us_when_it_took_upstream_away_is_refused(no_upstream, monkeypatch, left):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: left)
    with pytest.raises(ImportError, match=r"Files of llmbuilder-runtime are missing.*Install .* again"):
        upstream.refuse_upstream()


def test_importing_the_package_looks_for_upstream(tmp_path):
    info = tmp_path / "llmbuilder-2.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llmbuilder\nVersion: 2.0.0\n")
    program = f"import sys; sys.path.append({str(tmp_path)!r}); import llmbuilder"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ImportError: LLMBuilder 2.0.0" in result.stderr


BUILTINS = {
    errors.ConfigError: ValueError,
    errors.ModelNotFoundError: FileNotFoundError,
    errors.BundleError: ValueError,
    errors.TokenizerError: ValueError,
    errors.ContextOverflowError: ValueError,
    errors.ConstraintError: ValueError,
    errors.DeviceError: RuntimeError,
    errors.BusyError: RuntimeError,
    errors.ExportError: RuntimeError,
    errors.FileError: OSError,
}


@pytest.mark.parametrize(("kind", "builtin"), BUILTINS.items(), ids=lambda kind: kind.__name__)
def test_every_error_is_the_packages_and_the_builtin_one_expects(kind, builtin):
    error = kind("message")
    assert isinstance(error, errors.LLMBuilderError)
    assert isinstance(error, builtin)
    assert str(error) == "message"


def every_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {kind.__name__: kind for kind in kinds if issubclass(kind, errors.LLMBuilderError)}


def test_no_error_is_missing_here():
    assert set(every_error().values()) == {errors.LLMBuilderError, *BUILTINS}
