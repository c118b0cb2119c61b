import ctypes
from types import SimpleNamespace

import pytest

from llmbuilder.engine.cuda import card as module
from llmbuilder.engine.cuda.card import Card, card
from llmbuilder.engine.cuda.starting import why_not
from llmbuilder.errors import DeviceError


def writes(*values):
    """A function of the driver that writes values through its first arguments and succeeds."""

    def function(*arguments):
        for pointer, value in zip(arguments, values, strict=False):
            pointer._obj.value = value
        return 0

    return function


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A driver with two cards."""

    def name(buffer, _, device):
        buffer.value = [b"NVIDIA A", b"NVIDIA B"][device]
        return 0

    def device(pointer, index):
        pointer._obj.value = index
        return 0

    fake = SimpleNamespace(
        cuInit=lambda _: 0,
        cuDeviceGetCount=writes(2),
        cuDeviceGet=device,
        cuDeviceGetName=name,
        cuDriverGetVersion=writes(13000),
        cuDevicePrimaryCtxRetain=writes(1),
        cuDevicePrimaryCtxRelease_v2=lambda _: 0,
        cuCtxPushCurrent_v2=lambda _: 0,
        cuCtxPopCurrent_v2=lambda _: 0,
        cuMemGetInfo_v2=writes(3 << 30, 8 << 30),
    )
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: fake)
    version = tmp_path / "version"
    version.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\n")
    monkeypatch.setattr(module, "_VERSION_FILE", version)
    return fake


def test_a_card_is_described_by_the_driver(driver):
    assert card(1) == Card("NVIDIA B", 8 << 30, 3 << 30, "580.159.04", "13.0")


def test_a_number_beyond_the_last_card_is_refused(driver):
    with pytest.raises(DeviceError, match=r"no CUDA device number 2: the driver shows 2.*Count from 0"):
        card(2)


def test_what_the_driver_refuses_is_an_error_with_its_number(driver):
    driver.cuInit = lambda _: 100
    with pytest.raises(DeviceError, match=r"error 100 .*nvidia-smi"):
        card()


def test_no_driver_is_an_error_that_says_what_to_do(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver.*--gpus all"):
        card()


def test_a_machine_without_cuda_says_why_not():
    assert "no CUDA support" in (why_not() or "")
