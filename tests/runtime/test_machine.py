import pytest

from llmbuilder.engine.machine import processor_features, processor_name


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


@pytest.mark.parametrize(
    ("content", "features"),
    [
        ("flags\t\t: fpu avx2 avx avx512f\n", ["avx", "avx2", "avx512f"]),
        ("Features\t: fp asimd asimddp\n", ["asimd", "asimddp"]),
        ("processor\t: 0\n", []),
    ],
)
def test_the_features_are_those_that_kernels_are_chosen_by(tmp_path, content, features):
    (tmp_path / "cpuinfo").write_text(content)
    assert processor_features(tmp_path / "cpuinfo") == features
