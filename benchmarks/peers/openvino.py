"""OpenVINO GenAI: paged attention, files compressed by its own exporter."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.environments import call, environment, say
from peers.places import MODELS
from peers.protocol import THREADS, Engine, Room, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMS: Mapping[str, Sequence[str]] = {
    "openvino-int8": ("--weight-format", "int8"),
    "openvino-int4": ("--weight-format", "int4", "--group-size", "64", "--ratio", "1.0"),
}
"""576 is no multiple of the exporter's usual 128."""
CONFIGURATIONS = tuple(FORMS)

_BARE = "without-tokenizer"
"""Folder of links to all but the tokenizer's files, which a pipeline loads if they are there."""
_ALL_AT_ONCE = 8192
"""Tokens that may be computed at once: the model's window."""


def install() -> Path:
    """From PyPI; its exporter takes torch and transformers of its own (gigabytes)."""
    packages = ("openvino-genai==2026.4.1", "optimum-intel==2.2.0", "nncf==3.4.0")
    return environment("openvino", *packages, beside=".venv-oracle")


def prepare(configuration: str, source: Path) -> Path:
    """Export, and lay out the same files once more without the tokenizer."""
    model = MODELS / "openvino" / configuration
    if not (model / _BARE).is_dir():
        say(f"exporting {configuration}")
        program = [str(install()), "-m", "optimum.commands.optimum_cli", "export", "openvino"]
        task = ["--task", "text-generation-with-past", "--model", str(source)]
        call([*program, *task, *FORMS[configuration], str(model)])
        _link(model)
    return model


def files(model: Path) -> Sequence[Path]:
    """Graph and weights."""
    return [model / "openvino_model.xml", model / "openvino_model.bin"]


def variables() -> Mapping[str, str]:
    """No reports to its makers."""
    return {"OPENVINO_TELEMETRY": "0"}


def open_engine(room: Room) -> Engine:
    """A pipeline, or the compiled graph where logits are asked for."""
    return Graph(room) if room.logits else Pipeline(room)


def version() -> str:
    """Of the package."""
    import openvino_genai

    return f"openvino-genai {openvino_genai.__version__}"


class Pipeline:
    """`LLMPipeline` over paged attention. It keeps no prefixes: a prompt that is run again is computed again."""

    def __init__(self, room: Room) -> None:
        """Load."""
        import openvino_genai

        self._library: Any = openvino_genai
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_batched_tokens = _ALL_AT_ONCE
        options = {"ATTENTION_BACKEND": "PA", "INFERENCE_NUM_THREADS": THREADS, "scheduler_config": scheduler}
        folder = room.model if room.tokenizer else room.model / _BARE
        self._pipeline = openvino_genai.LLMPipeline(str(folder), "CPU", **options)

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """The pipeline's own clock tells when the first tokens were there."""
        import numpy as np
        import openvino

        ids = np.array(prompts, np.int64)
        inputs = self._library.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        begin = time.perf_counter()
        result = self._pipeline.generate(inputs, self._config(new))
        total = time.perf_counter() - begin
        first = result.perf_metrics.get_ttft().mean / 1000
        return Run(first, total - first)

    def first_text(self, text: str) -> str:
        """One token of a text."""
        return str(self._pipeline.generate(text, self._config(1)))

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """It gives none."""
        raise TypeError(f"A pipeline gives no logits of {len(ids)} tokens.")

    def _config(self, new: int) -> Any:
        config = self._library.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = new, True, False
        config.apply_chat_template = False
        return config


class Graph:
    """The same files, compiled with the same options, for logits."""

    def __init__(self, room: Room) -> None:
        """Compile."""
        import openvino

        options = {"INFERENCE_NUM_THREADS": THREADS}
        self._request = openvino.Core().compile_model(room.model / "openvino_model.xml", "CPU", options)

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> Run:
        """It does not generate."""
        raise TypeError(f"A graph alone does not continue {len(prompts)} prompts by {new} tokens.")

    def first_text(self, text: str) -> str:
        """It knows no text."""
        raise TypeError(f"A graph alone cannot continue {text!r}.")

    def logits(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Of every position; a new request has an empty cache."""
        import numpy as np

        given = np.array([ids], np.int64)
        request = self._request.create_infer_request()
        positions = np.arange(len(ids), dtype=np.int64)[None]
        inputs = {"input_ids": given, "attention_mask": np.ones_like(given), "position_ids": positions}
        known = {name for port in self._request.inputs for name in port.names}
        values = {name: value for name, value in inputs.items() if name in known}
        out = request.infer(values | {"beam_idx": np.zeros(1, np.int32)})
        return np.array(out["logits"][0], np.float32)


def _link(model: Path) -> None:
    bare = model / _BARE
    bare.mkdir()
    for file in model.iterdir():
        if file.is_file() and "token" not in file.name and file.suffix != ".jinja":
            (bare / file.name).symlink_to(Path("..") / file.name)
