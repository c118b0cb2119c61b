"""What there is to know of a card, asked of NVIDIA's driver itself (CUDA Driver API): no torch, no extra package."""

import ctypes
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbuilder.errors import DeviceError

_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
_VERSION_FILE = Path("/proc/driver/nvidia/version")
_NAME_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Card:
    """A CUDA device. ``driver`` is NVIDIA's version of it (empty where not known), ``cuda`` the newest CUDA it runs."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str
    cuda: str


def card(index: int = 0) -> Card:
    """The CUDA device with this number, as ``CUDA_VISIBLE_DEVICES`` counts them.

    Raises:
        DeviceError: there is no driver, or no such device.
    """
    driver = _driver()
    _call(driver.cuInit, 0)
    count = _number(driver.cuDeviceGetCount, ctypes.c_int)
    if index >= count:
        raise DeviceError(
            f"There is no CUDA device number {index}: the driver shows {count}. "
            "Count from 0; CUDA_VISIBLE_DEVICES may hide others."
        )
    device = _number(driver.cuDeviceGet, ctypes.c_int, index)
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    _call(driver.cuDeviceGetName, name, _NAME_LENGTH, device)
    free, total = _memory(driver, device)
    version = _number(driver.cuDriverGetVersion, ctypes.c_int)
    return Card(
        name=name.value.decode(errors="replace"),
        total_bytes=total,
        free_bytes=free,
        driver=_driver_version(),
        cuda=f"{version // 1000}.{version % 1000 // 10}",
    )


def _driver() -> Any:
    for name in _LIBRARIES:
        with suppress(OSError):
            return ctypes.CDLL(name)
    raise DeviceError(
        "There is no NVIDIA driver here (libcuda.so.1 was not found). Install it; in a container, start that with the "
        "NVIDIA Container Toolkit (docker run --gpus all)."
    )


def _memory(driver: Any, device: int) -> tuple[int, int]:
    """Free and all bytes, asked in the context that every library of this process shares."""
    context = ctypes.c_void_p()
    _call(driver.cuDevicePrimaryCtxRetain, ctypes.byref(context), device)
    try:
        _call(driver.cuCtxPushCurrent_v2, context)
        try:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            _call(driver.cuMemGetInfo_v2, ctypes.byref(free), ctypes.byref(total))
        finally:
            _call(driver.cuCtxPopCurrent_v2, ctypes.byref(ctypes.c_void_p()))
    finally:
        _call(driver.cuDevicePrimaryCtxRelease_v2, device)
    return free.value, total.value


def _number(function: Callable[..., int], kind: type[ctypes.c_int], *arguments: Any) -> int:
    value = kind()
    _call(function, ctypes.byref(value), *arguments)
    return value.value


def _call(function: Callable[..., int], *arguments: Any) -> None:
    code = function(*arguments)
    if code:
        raise DeviceError(
            f"NVIDIA's driver says error {code} ({getattr(function, '__name__', 'a call')}). "
            "Look whether nvidia-smi works: 100 means that there is no card, 803 that the driver is older than "
            "its libraries."
        )


def _driver_version() -> str:
    with suppress(OSError):
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", _VERSION_FILE.read_text(encoding="utf-8"))
        return found[0] if found else ""
    return ""
