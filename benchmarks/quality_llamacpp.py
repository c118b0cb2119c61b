"""The peer of ``quality.py``: llama.cpp's quantizations of the same weights, in an environment of its own.

``python quality_llamacpp.py MODEL.gguf [QUANTIZATION ...]`` reads texts as lists of windows of token ids (JSON) from
stdin and writes one JSON object a line for each quantization. The reference is the same file, dequantized to float32 by
llama.cpp.
"""

import ctypes
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from divergence import WINDOW, Logits, Windows, divergence

FLOAT32 = llama_cpp.LLAMA_FTYPE_ALL_F32
QUANTIZATIONS = {
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
}
USUAL = ("Q8_0", "Q4_0", "Q4_K_M")


def main() -> None:
    """Quantize, measure, print."""
    texts: dict[str, Windows] = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "F32.gguf"
        convert(Path(sys.argv[1]), original, FLOAT32)
        model = Model(original)
        reference = {name: [model(ids) for ids in cut] for name, cut in texts.items()}
        for name in sys.argv[2:] or USUAL:
            path = Path(folder) / f"{name}.gguf"
            convert(original, path, QUANTIZATIONS[name])
            for row in measure(path, texts, reference):
                print(json.dumps({"version": llama_cpp.__version__, "quantization": name} | row), flush=True)


def convert(source: Path, target: Path, kind: int) -> None:
    """Let llama.cpp write ``source`` with another type of weights."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = kind
    parameters.allow_requantize = True
    if llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(parameters)):
        raise SystemExit(f"llama.cpp could not quantize {source}.")


def measure(
    path: Path, texts: dict[str, Windows], reference: Mapping[str, Sequence[Logits]]
) -> Iterator[dict[str, Any]]:
    """Yield the divergence of a quantized file on each text."""
    model = Model(path)
    for name, cut in texts.items():
        kl, agreement = divergence(reference[name], model, cut)
        yield {"text": name, "kl": kl, "agreement": agreement, "bytes": path.stat().st_size}


class Model:
    """A GGUF file as a function from token ids to logits [length, V]."""

    def __init__(self, path: Path) -> None:
        """Load ``path``."""
        self.llama = llama_cpp.Llama(
            str(path), n_ctx=WINDOW, n_batch=WINDOW, n_ubatch=WINDOW, logits_all=True, verbose=False
        )

    def __call__(self, ids: Sequence[int]) -> Logits:
        """Logits of every position of ``ids``."""
        self.llama.reset()
        self.llama.eval(ids)
        return np.array(self.llama.scores[: len(ids)], np.float32)


if __name__ == "__main__":
    main()
