"""Which build of ONNX Runtime is installed, and that it is exactly one."""

from importlib import metadata

from llmbuilder.errors import DeviceError

_UNINSTALL = "Uninstall both (pip uninstall onnxruntime onnxruntime-gpu)."
INSTALL = (
    'Install exactly one of them: pip install "llmbuilder-runtime[cpu]" for CPUs, '
    'or pip install "llmbuilder-runtime[gpu]" for CUDA.'
)


def check_installation() -> None:
    """Refuse to run without ONNX Runtime, with both of its builds over each other, or with what is left of one.

    Raises:
        DeviceError: see above.
    """
    builds = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(builds) > 1:
        raise DeviceError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files. "
            f"{_UNINSTALL} {INSTALL}"
        )
    try:
        from onnxruntime import InferenceSession  # noqa: F401
    except ImportError as error:
        if not builds:
            raise DeviceError(f"ONNX Runtime is not installed. {INSTALL}") from error
        raise DeviceError(
            f"{builds[0]} is installed but cannot be used ({error}). {_UNINSTALL} {INSTALL}"
        ) from error


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
