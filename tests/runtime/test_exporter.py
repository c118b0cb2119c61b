"""Where an export runs: here, or in an environment that was made for it."""

import sys

import pytest

from llmbuilder.bundle import exporter as exporting
from llmbuilder.distribution import installed_version


@pytest.fixture
def environment(cache_home):
    """A complete environment of the exporter's, whose Python is a file."""
    environment = exporting.exporter_environment()
    python = exporting.python_of(environment)
    python.parent.mkdir(parents=True)
    python.touch()
    exporting.mark_installed()
    return environment


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setattr(exporting, "can_export", lambda: False)


def test_this_environment_exports_if_it_can(environment, monkeypatch):
    monkeypatch.setattr(exporting, "can_export", lambda: True)
    assert exporting.exporter() == [sys.executable]


def test_else_the_exporters_own_does_looking_into_nothing_else(environment, no_torch):
    assert exporting.exporter() == [str(exporting.python_of(environment)), "-I"]


def test_without_either_there_is_none(cache_home, no_torch):
    assert exporting.exporter() is None


@pytest.mark.parametrize("damage", ["another version", "interrupted", "no Python", "not text"])
def test_an_environment_that_is_not_whole_or_of_another_version_is_passed_over(environment, no_torch, damage):
    ready = next(path for path in environment.iterdir() if path.is_file())
    assert ready.read_text() == installed_version()
    if damage == "another version":
        ready.write_text("0.0.1")
    elif damage == "interrupted":
        ready.unlink()
    elif damage == "no Python":
        exporting.python_of(environment).unlink()
    else:
        ready.write_bytes(b"\xff")
    assert exporting.exporter() is None


def test_an_exporter_that_lacks_something_does_not_call_itself(environment, no_torch, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(environment))
    assert exporting.exporter() is None
