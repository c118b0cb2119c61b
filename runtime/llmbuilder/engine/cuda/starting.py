"""Start ONNX Runtime on a card, or say why that cannot be: by itself it would fall back to the CPU without a word."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmbuilder.engine.cuda.card import card
from llmbuilder.engine.installation import check_installation, how_to_install
from llmbuilder.errors import DeviceError

if TYPE_CHECKING:
    import onnxruntime

PROVIDER = "CUDAExecutionProvider"
_FLASH_ATTENTION = "1"
"""The only value of sdpa_kernel that is both fast and the same from run to run: the default may take cuDNN's, which is
not (seen on Hopper with ONNX Runtime 1.31)."""
_WARNING, _FATAL = 2, 4
_MISSING = re.compile(r"Failed to load (?P<library>[^\s:]+)")


def why_not(index: int = 0) -> str | None:
    """Why graphs cannot run on this CUDA device, in a sentence or two; None if nothing is known to be in the way."""
    try:
        check_installation()
        check_cuda(index)
    except DeviceError as error:
        return str(error)
    return None


def check_cuda(index: int = 0) -> None:
    """Load what a session on this CUDA device needs.

    Raises:
        DeviceError: ONNX Runtime has no CUDA provider, there is no driver or card, or libraries are missing.
    """
    import onnxruntime as ort

    if PROVIDER not in ort.get_available_providers():
        raise DeviceError(f"This ONNX Runtime has no CUDA support. {how_to_install()}")
    card(index)
    if missing := _preloaded(ort):
        raise DeviceError(f"CUDA libraries are missing: {', '.join(missing)}. {_libraries_for(ort)}")


def provider_options(index: int, *, deterministic: bool) -> dict[str, str]:
    """The options of a session whose steps are replayed as CUDA graphs.

    Args:
        index: number of the device.
        deterministic: take the attention whose results are the same from run to run.
    """
    options = {
        "device_id": str(index),
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1",
    }
    return options | ({"sdpa_kernel": _FLASH_ATTENTION} if deterministic else {})


def try_products(settings: "onnxruntime.SessionOptions") -> None:
    """Let ONNX Runtime measure which of its kernels multiplies a few rows fastest, and take that for this process.

    Which one wins may differ from process to process, and with it the last bits.
    """
    settings.add_session_config_entry("ep.cuda.enable_gemm_auto_tune", "1")


@contextlib.contextmanager
def quietly(ort: "onnxruntime") -> Iterator[None]:
    """Let ONNX Runtime's default logger, which writes to stderr, say nothing: what it would say is raised."""
    ort.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        ort.set_default_logger_severity(_WARNING)


def check_started(session: "onnxruntime.InferenceSession", index: int) -> None:
    """Refuse a session that is not on the card.

    Raises:
        DeviceError: it fell back.
    """
    if (found := session.get_providers()[0]) != PROVIDER:
        import onnxruntime as ort

        raise DeviceError(
            f"ONNX Runtime fell back to {found}: CUDA did not start on cuda:{index}. {_libraries_for(ort)}"
        )


def _preloaded(ort: "onnxruntime") -> list[str]:
    """Load the CUDA libraries; the names of those that are not there, which are only printed."""
    if not hasattr(ort, "preload_dlls"):
        return []
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls()
    return [match["library"] for match in _MISSING.finditer(printed.getvalue())]


def _libraries_for(ort: "onnxruntime") -> str:
    version = getattr(ort, "cuda_version", None) or "the version it was built for"
    return (
        f"ONNX Runtime {ort.__version__} needs the libraries of CUDA {version} and cuDNN 9: use an image of NVIDIA "
        "that has them, or `pip install` its wheels (see docs/cuda.md)."
    )
