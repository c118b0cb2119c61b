"""One ONNX Runtime session over a graph, with everything about threads and devices decided here."""

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from llmbuilder import forking
from llmbuilder.checks import is_whole, shown
from llmbuilder.engine.limits import available_threads
from llmbuilder.errors import BundleError, ConfigError, DeviceError, translated

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["auto", "cpu", "cuda"]

_UNINSTALL = "Uninstall both (pip uninstall onnxruntime onnxruntime-gpu)."
_INSTALL = (
    'Install exactly one of them: pip install "llmbuilder-runtime[cpu]" for CPUs, '
    'or pip install "llmbuilder-runtime[gpu]" for CUDA.'
)
_ERRORS_ONLY = 3
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_MOST_THREADS = 1024  # ONNX Runtime would try to start whatever it is asked for


def open_session(
    graph: Path, *, built_for: str, device: Device, threads: int | None, content: bytes | None = None
) -> "onnxruntime.InferenceSession":
    """Load a graph for execution.

    Args:
        graph: path of the ``.onnx`` file; its weights are mapped from beside it.
        built_for: device the graph was exported for, ``cpu`` or ``cuda``.
        device: where to run; ``auto`` is where it was built for.
        threads: CPU threads, at least 1; None: as many as this process may use.
        content: the file's, to be loaded in its place; None: ONNX Runtime reads the file.

    Raises:
        ConfigError: no such device, or no such number of threads.
        DeviceError: the device does not fit the graph or is not available, or ONNX Runtime is not properly installed.
        BundleError: ONNX Runtime cannot load the graph.
    """
    check_execution(device, threads)
    check_installation()
    import onnxruntime as ort

    wanted = built_for if device == "auto" else device
    if wanted != built_for:
        raise DeviceError(
            f"{graph.parent} was exported for {built_for} and cannot run on {wanted}. "
            "This release exports for cpu only: "
            + ("leave device out." if built_for == "cpu" else "export it again.")
        )
    if wanted == "cuda":
        _require_cuda(ort)
    providers = ["CUDAExecutionProvider"] if wanted == "cuda" else ["CPUExecutionProvider"]
    options = session_options(ort, threads)
    failure = f"ONNX Runtime {ort.__version__} cannot load {graph}"
    with translated(BundleError, failure, "Export the model again with this release."), forking.LOADING:
        if content is not None:
            options.add_session_config_entry(_WEIGHTS_FOLDER, str(graph.parent))
        session = ort.InferenceSession(
            str(graph) if content is None else content, options, providers=providers
        )
        forking.never_end_in_children(session)
    if session.get_providers()[0] != providers[0]:
        raise DeviceError(
            f"ONNX Runtime fell back to {session.get_providers()[0]}; {providers[0]} failed to start. "
            "Check the driver of the card and its CUDA libraries, or use a bundle for the CPU."
        )
    return session


def check_execution(device: object, threads: object) -> None:
    """Raise `ConfigError` if these cannot be the device and threads of `open_session` on any machine."""
    if not isinstance(device, str) or device not in get_args(Device):
        raise ConfigError(f"device must be 'auto', 'cpu' or 'cuda', got {shown(device)}.")
    if threads is None:
        return
    if not is_whole(threads, 1) or int(threads) > _MOST_THREADS:
        raise ConfigError(
            f"threads must be a whole number from 1 to {_MOST_THREADS}, or None, got {shown(threads)}."
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
            f"{_UNINSTALL} {_INSTALL}"
        )
    try:
        from onnxruntime import InferenceSession  # noqa: F401
    except ImportError as error:
        if not builds:
            raise DeviceError(f"ONNX Runtime is not installed. {_INSTALL}") from error
        raise DeviceError(
            f"{builds[0]} is installed but cannot be used ({error}). {_UNINSTALL} {_INSTALL}"
        ) from error


def session_options(ort: "onnxruntime", threads: int | None = None) -> "onnxruntime.SessionOptions":
    """What every session runs with; ``threads`` None: as many as this process may use."""
    options = ort.SessionOptions()
    # Set explicitly, or ONNX Runtime pins threads to cores it may not have (onnxruntime issue 10113).
    options.intra_op_num_threads = threads or available_threads()
    options.inter_op_num_threads = 1
    # Shapes change at every prefill: a memory pattern would be planned and thrown away.
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    # Threads must not spin on the cores while NumPy samples between two runs (onnxruntime issue 13808).
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _require_cuda(ort: "onnxruntime") -> None:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise DeviceError(f"This ONNX Runtime has no CUDA support. {_INSTALL}")
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
