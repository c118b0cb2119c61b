"""One ONNX Runtime session over a graph, with everything about threads and devices decided here."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbuilder import forking
from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.checks import is_whole, shown
from llmbuilder.engine.limits import available_threads, recent_memory
from llmbuilder.engine.mapped import give_back_mapped
from llmbuilder.errors import BundleError, ConfigError, DeviceError, translated

if TYPE_CHECKING:
    import onnxruntime

Device = str
"""``auto``, ``cpu``, ``cuda`` or ``cuda:N`` for the N-th card, from 0."""
_DEVICE = re.compile(r"auto|cpu|cuda(:(?P<index>\d{1,3}))?")

_FATAL_ONLY = 4  # errors are raised, and would be printed besides
WIDENED = "session.x64quantprecision"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_FEW_THREADS = 2
_COPIES = 4
"""Of the weights, in free memory: those in the file's pages, those that are packed, and both again for all else."""
_MOST_THREADS = 1024  # ONNX Runtime would try to start whatever it is asked for


def open_session(
    graph: Path,
    *,
    built_for: str,
    device: Device,
    threads: int | None,
    content: bytes | None = None,
    deterministic: bool = True,
    widened: bool = False,
) -> "onnxruntime.InferenceSession":
    """Load a graph for execution.

    Args:
        graph: path of the ``.onnx`` file; its weights are mapped from beside it.
        built_for: device the graph was exported for, ``cpu`` or ``cuda``.
        device: where to run, see `Device`; ``auto`` is where it was built for.
        threads: CPU threads, at least 1; None: as many as this process may use.
        content: the file's, to be loaded in its place; None: ONNX Runtime reads the file.
        deterministic: on a card, take the attention whose results are the same from run to run.
        widened: on the CPU, make signed 8-bit weights unsigned, see `llmbuilder.engine.products`.

    Raises:
        ConfigError: no such device, or no such number of threads.
        DeviceError: the device does not fit the graph or is not available.
        BundleError: ONNX Runtime cannot load the graph.
    """
    check_execution(device, threads)
    index = card_index(graph.parent, built_for, device)
    if index is None:
        with translated(BundleError, _failure(graph), "Export the model again with this release."):
            settings = _settings(graph, threads)
            if widened:
                widen_weights(settings)
            session = _load(graph, content, ["CPUExecutionProvider"], settings)
        give_back_mapped(graph.parent / WEIGHTS_NAME)
        return session
    import onnxruntime as ort

    from llmbuilder.engine.cuda import starting

    try:
        starting.check_cuda(index)
    except DeviceError as error:
        raise DeviceError(
            f"{graph.parent} was exported for cuda. {error} With device='cpu' it runs without a card, slowly."
        ) from error
    provider = (starting.PROVIDER, starting.provider_options(index, deterministic=deterministic))
    settings = _settings(graph, threads)
    if not deterministic:
        starting.try_products(settings)
    advice = "Where memory is short, free some, export with --quantize int8, or take another card (cuda:N)."
    with starting.quietly(ort), translated(DeviceError, f"{_failure(graph)} on cuda:{index}", advice):
        session = _load(graph, content, [provider], settings, enable_fallback=False)
    starting.check_started(session, index)
    return session


def card_index(where: object, built_for: str, device: Device) -> int | None:
    """The number of the card that the bundle ``where`` will run on; None for the CPU.

    Raises:
        DeviceError: it was not exported for that.
    """
    wanted = built_for if device == "auto" else device
    found = _DEVICE.fullmatch(wanted)
    if wanted == "cpu" or found is None:
        return None
    if built_for == "cpu":
        raise DeviceError(
            f"{where} was exported for cpu and cannot run on {wanted}: CUDA computes in float16. "
            f"Export the model again with --device cuda, or leave device out."
        )
    return int(found["index"] or 0)


def _settings(graph: Path, threads: int | None) -> "onnxruntime.SessionOptions":
    import onnxruntime as ort

    settings = session_options(ort, threads)
    if packs_in_parallel(graph.parent / WEIGHTS_NAME, threads or available_threads()):
        settings.add_session_config_entry("session.prepack.enable_parallel", "1")
    return settings


def _load(
    graph: Path,
    content: bytes | None,
    providers: list[Any],
    settings: "onnxruntime.SessionOptions",
    **options: Any,
) -> "onnxruntime.InferenceSession":
    import onnxruntime as ort

    with forking.LOADING:
        if content is not None:
            settings.add_session_config_entry(_WEIGHTS_FOLDER, str(graph.parent))
        session = ort.InferenceSession(
            str(graph) if content is None else content, settings, providers=providers, **options
        )
        forking.never_end_in_children(session)
    return session


def packs_in_parallel(weights: Path, threads: int) -> bool:
    """Whether weights are packed by all threads, which holds them all twice until the last is done.

    With two threads, one of which has the tokenizer to load, nothing was gained.
    """
    free = recent_memory()
    if threads <= _FEW_THREADS or free is None or not weights.is_file():
        return False
    return free >= _COPIES * weights.stat().st_size


def _failure(graph: Path) -> str:
    import onnxruntime as ort

    return f"ONNX Runtime {ort.__version__} cannot load {graph}"


def check_execution(device: object, threads: object) -> None:
    """Raise `ConfigError` if these cannot be the device and threads of `open_session` on any machine."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {shown(device)}.")
    if threads is None:
        return
    if not is_whole(threads, 1) or int(threads) > _MOST_THREADS:
        raise ConfigError(
            f"threads must be a whole number from 1 to {_MOST_THREADS}, or None, got {shown(threads)}."
        )


def session_options(ort: "onnxruntime", threads: int | None = None) -> "onnxruntime.SessionOptions":
    """What every session runs with; ``threads`` None: as many as this process may use."""
    options = ort.SessionOptions()
    # Set explicitly, or ONNX Runtime pins threads to cores it may not have (onnxruntime issue 10113).
    options.intra_op_num_threads = threads or available_threads()
    options.inter_op_num_threads = 1
    # Shapes change at every prefill: a memory pattern would be planned and thrown away.
    options.enable_mem_pattern = False
    options.log_severity_level = _FATAL_ONLY
    # Threads must not spin on the cores while NumPy samples between two runs (onnxruntime issue 13808).
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def widen_weights(options: "onnxruntime.SessionOptions") -> None:
    """Let ONNX Runtime make signed weights unsigned, whose products it adds in 32 bits on any processor."""
    options.add_session_config_entry(WIDENED, "1")
