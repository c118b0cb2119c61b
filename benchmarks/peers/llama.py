"""llama.cpp: its library and its HTTP server built for this processor, called through llama-cpp-python's functions."""

import ctypes
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.environments import call, environment, say
from peers.places import HOME, MODELS, ROOT
from peers.protocol import THREADS, Engine, LeftOutError, Room, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RELEASE = "0.3.36"
SOURCES = HOME / "llama" / f"llama_cpp_python-{RELEASE}"
BINARIES = HOME / "llama-server" / "bin"
"""The server, and the libraries of the same build beside it: it finds them there."""
ORIGINAL = ROOT / ".cache" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
"""What the Hugging Face directory was made from."""
FORMS: Mapping[str, tuple[str, bool]] = {
    "llama-F32": ("ALL_F32", False),
    "llama-Q8_0": ("MOSTLY_Q8_0", False),
    "llama-Q4_K_M": ("MOSTLY_Q4_K_M", False),
    "llama-Q4_0-pure": ("MOSTLY_Q4_0", True),
}
"""Type of the weights, and whether no tensor gets more bits than it."""
CONFIGURATIONS = tuple(FORMS)

_OPTIONS = (
    *("CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=ON", "CMAKE_BUILD_WITH_INSTALL_RPATH=ON"),
    *("GGML_NATIVE=ON", "GGML_CPU_REPACK=ON", "GGML_LLAMAFILE=ON"),
    *("LLAMA_CURL=OFF", "LLAMA_OPENSSL=OFF", "LLAMA_BUILD_COMMON=ON", "LLAMA_BUILD_TOOLS=ON"),
    *("LLAMA_BUILD_SERVER=ON", "LLAMA_BUILD_UI=OFF", "LLAMA_USE_PREBUILT_UI=OFF"),
    *("LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_APP=OFF"),
    "CMAKE_INSTALL_RPATH=$ORIGIN",
)
_FULL = 512
"""Tokens that are computed at once: llama.cpp's own default."""


def install() -> Path:
    """Build the library, then the Python functions around it.

    With ``GGML_NATIVE`` the compiler takes what this processor has: AVX-512, VNNI and BF16 where they are there.
    """
    if not (BINARIES / "libllama.so").exists():
        _build("llama")
    return environment("llama-python", str(_sources()), beside=".venv-oracle", variables=_NO_SECOND_BUILD)


def install_server() -> Path:
    """Build the HTTP server, of the same sources with the same options, and return it."""
    server = BINARIES / "llama-server"
    if not server.exists():
        _build("llama-server")
    return server


def prepare(configuration: str, source: Path) -> Path:
    """Let llama.cpp write its own types of weights, from its own float32."""
    model = MODELS / "llama" / f"{configuration}.gguf"
    if not model.exists():
        if not ORIGINAL.exists():
            raise LeftOutError(f"There is no {ORIGINAL}; `make smollm2` fetches it.")
        say(f"quantizing {configuration}")
        begin = ORIGINAL if configuration == "llama-F32" else prepare("llama-F32", source)
        model.parent.mkdir(parents=True, exist_ok=True)
        kind, pure = FORMS[configuration]
        written = model.with_suffix(".part")
        arguments = [str(begin), str(written), kind, "pure" if pure else "mixed"]
        call([str(install()), "-m", "peers.llama", *arguments], variables())
        written.rename(model)
    return model


def files(model: Path) -> Sequence[Path]:
    """One file, which holds the vocabulary too."""
    return [model]


def variables() -> Mapping[str, str]:
    """Where the library is."""
    return {"LLAMA_CPP_LIB_PATH": str(BINARIES)}


def open_engine(room: Room) -> Engine:
    """Load; the vocabulary is always loaded."""
    return Llama(room)


def version() -> str:
    """Of the Python package."""
    import llama_cpp

    return f"llama-cpp-python {llama_cpp.__version__}"


class Llama:
    """A context over a model, its cache emptied before each run."""

    def __init__(self, room: Room) -> None:
        """Load the model and make a context as large as the room."""
        import llama_cpp as lib

        self._lib: Any = lib
        lib.llama_log_set(_SILENT, None)
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(bytes(room.model), lib.llama_model_default_params())
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._size = lib.llama_vocab_n_tokens(self._vocab)
        self._context = lib.llama_init_from_model(self._model, self._parameters(room))
        self._batch = lib.llama_batch_init(room.rows * room.tokens, 0, 1)

    def _parameters(self, room: Room) -> Any:
        parameters = self._lib.llama_context_default_params()
        parameters.n_ctx = room.rows * room.tokens
        parameters.n_seq_max = room.rows
        parameters.n_batch = room.rows * room.tokens
        parameters.n_ubatch = _FULL
        parameters.n_threads = parameters.n_threads_batch = THREADS
        parameters.no_perf = True
        return parameters

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """All prompts in one batch, then steps of all rows; the likeliest token by NumPy."""
        self._clear()
        begin = time.perf_counter()
        ends = self._decode(prompts, 0)
        tokens = [self._likeliest(end) for end in ends]
        first = time.perf_counter()
        for position in range(len(prompts[0]), len(prompts[0]) + new - 1):
            ends = self._decode([[token] for token in tokens], position)
            tokens = [self._likeliest(end) for end in ends]
        return Run(first - begin, time.perf_counter() - first)

    def first_text(self, text: str) -> str:
        """Tokenize, compute, and the piece of the likeliest token."""
        lib, content = self._lib, text.encode()
        room = len(content) + 8
        found = (lib.llama_token * room)()
        count = lib.llama_tokenize(self._vocab, content, len(content), found, room, False, True)
        (end,) = self._decode([list(found[:count])], 0)
        piece = ctypes.create_string_buffer(64)
        size = lib.llama_token_to_piece(self._vocab, self._likeliest(end), piece, len(piece), 0, True)
        return piece.raw[:size].decode("utf-8", "replace")

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Of every position."""
        import numpy as np

        self._clear()
        self._decode([ids], 0, every=True)
        return np.stack([self._row(place).copy() for place in range(len(ids))])

    def _clear(self) -> None:
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)

    def _decode(self, rows: Sequence[Sequence[int]], position: int, *, every: bool = False) -> list[int]:
        """Compute tokens of all rows from a position on; the places of their last ones."""
        batch, place, ends = self._batch, 0, []
        for row, tokens in enumerate(rows):
            for offset, token in enumerate(tokens):
                batch.token[place] = token
                batch.pos[place] = position + offset
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = row
                batch.logits[place] = every or offset == len(tokens) - 1
                place += 1
            ends.append(place - 1)
        batch.n_tokens = place
        if status := self._lib.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode ended with status {status}.")
        return ends

    def _row(self, place: int) -> "npt.NDArray[np.float32]":
        import numpy as np

        return np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, place), (self._size,))

    def _likeliest(self, place: int) -> int:
        return int(self._row(place).argmax())


_SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
"""Kept: the library calls it as long as it is loaded."""
_NO_SECOND_BUILD = {"CMAKE_ARGS": "-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF"}


def _sources() -> Path:
    if not SOURCES.is_dir():
        folder = SOURCES.parent
        folder.mkdir(parents=True, exist_ok=True)
        package = f"llama-cpp-python=={RELEASE}"
        options = ["--no-deps", "--no-binary", "llama-cpp-python", "--dest", str(folder)]
        call(["python3", "-m", "pip", "download", *options, package])
        (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return SOURCES


def _build(target: str) -> None:
    if shutil.which("cmake") is None:
        raise LeftOutError(
            "llama.cpp is built by cmake, which is not here: install cmake and a C++ compiler."
        )
    say(f"building {target} of llama.cpp (minutes)")
    tree = _sources() / "vendor" / "llama.cpp"
    call(["cmake", "-S", str(tree), "-B", str(tree / "build"), *(f"-D{option}" for option in _OPTIONS)])
    call(["cmake", "--build", str(tree / "build"), f"-j{THREADS}", "--target", target])
    shutil.rmtree(BINARIES, ignore_errors=True)  # of the same build, without what is new
    shutil.copytree(tree / "build" / "bin", BINARIES, symlinks=True)


def _quantize(source: str, target: str, kind: str, mixture: str) -> None:
    import llama_cpp as lib

    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = getattr(lib, f"LLAMA_FTYPE_{kind}")
    parameters.allow_requantize, parameters.pure, parameters.nthread = True, mixture == "pure", THREADS
    if lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)):
        raise SystemExit(f"llama.cpp could not quantize {source}.")


if __name__ == "__main__":
    import sys

    _quantize(*sys.argv[1:])
