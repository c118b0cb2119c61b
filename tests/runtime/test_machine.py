from importlib import metadata

import pytest

from llmbuilder.engine.machine import processor_name, runtime_builds


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (
            "processor\t: 0\nmodel name\t: Some Processor @ 3 GHz\n\nprocessor\t: 1\n",
            "Some Processor @ 3 GHz",
        ),
        ("processor\t: 0\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
    ],
)
def test_a_processor_has_the_name_that_the_system_gives(tmp_path, content, name):
    (tmp_path / "cpuinfo").write_text(content)
    assert processor_name(tmp_path / "cpuinfo") == name


def test_a_processor_without_a_name_is_of_some_kind(tmp_path):
    assert processor_name(tmp_path / "missing")


def test_builds_of_onnxruntime_are_told_by_what_is_installed(monkeypatch):
    installed = {"onnxruntime-gpu": "1.31.1"}

    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    assert runtime_builds() == {"onnxruntime-gpu": "1.31.1"}
    installed.clear()
    assert runtime_builds() == {}
