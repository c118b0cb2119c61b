"""Which build of ONNX Runtime is installed, and that it is exactly one."""

from llmbuilder import installed
from llmbuilder.errors import DeviceError

BUILDS = ("onnxruntime", "onnxruntime-gpu")
"""The distributions that install ONNX Runtime, for CPUs and for CUDA."""

_UNINSTALL = "Uninstall both (pip uninstall onnxruntime onnxruntime-gpu)."


def check_installation() -> None:
    """Refuse to run without ONNX Runtime, with both of its builds over each other, or with what is left of one.

    Raises:
        DeviceError: see above.
    """
    builds = [name for name in BUILDS if installed.has(name)]
    if len(builds) > 1:
        raise DeviceError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files. "
            f"{_UNINSTALL} {how_to_install()}"
        )
    try:
        from onnxruntime import InferenceSession  # noqa: F401
    except ImportError as error:
        if not builds:
            raise DeviceError(f"ONNX Runtime is not installed. {how_to_install()}") from error
        raise DeviceError(
            f"{builds[0]} is installed but cannot be used ({error}). {_UNINSTALL} {how_to_install()}"
        ) from error


def how_to_install() -> str:
    """What to type to have one of the builds."""
    from llmbuilder.distribution import install_line

    return f"Install exactly one of them: {install_line('cpu')} for CPUs, or {install_line('gpu')} for CUDA."


def runtime_builds() -> dict[str, str]:
    """Name and version of each build of ONNX Runtime that is installed; there should be one. Loads nothing."""
    return {name: version for name in BUILDS if (version := installed.version(name)) is not None}


def runtime_name() -> str:
    """The build of ONNX Runtime and its version, such as ``onnxruntime 1.32.0``; does not load it where that is known.

    Raises:
        DeviceError: there is none, or both are.
    """
    builds = runtime_builds()
    if len(builds) != 1:
        check_installation()
    return next((f"{name} {version}" for name, version in builds.items()), "onnxruntime")
