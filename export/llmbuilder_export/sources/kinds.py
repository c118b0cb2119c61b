"""What a file or directory is that is no model to export: told by its name, with what to pass instead."""

import zipfile
from contextlib import suppress
from pathlib import Path

from llmbuilder.bundle.opening import is_bundle
from llmbuilder.errors import ExportError
from llmbuilder_export.sources.adapters import described

_ORIGINAL = "Export the model that it was made of: its Hugging Face directory, or LLMBuilder's checkpoint."
_SAFETENSORS_BRACE = 8
"""Where the header of a safetensors file begins, which is JSON."""


def refuse_other_file(path: Path) -> None:
    """Refuse a file that is known to be something else than a checkpoint.

    Raises:
        ExportError: says what it is.
    """
    if path.suffix == ".onnx" and is_bundle(path.parent):
        raise ExportError(
            f"{path} is a file of a bundle, which is exported already. Use {path.parent} as the model."
        )
    if path.suffix == ".onnx":
        raise ExportError(f"{path} is an ONNX model, whose weights cannot be exported again. {_ORIGINAL}")
    if path.stem == "adapter_model" and (what := described(path.parent)) is not None:
        raise ExportError(f"{path} is of {what}; give its base: llmb export BASE --adapter {path.parent}")
    if path.suffix == ".safetensors" and _begins_as_safetensors(path):
        raise ExportError(
            f"{path} is a safetensors file, which holds weights only. Pass the model's directory: {path.parent}"
        )
    if path.suffix == ".json":
        raise ExportError(f"{path} is a JSON file. Pass the model's directory: {path.parent}")
    if _is_torchscript(path):
        raise ExportError(f"{path} is a TorchScript archive, which holds code. {_ORIGINAL}")


def refuse_other_directory(directory: Path) -> None:
    """Refuse a directory that is known to be something else than a model of transformers.

    Raises:
        ExportError: says what it is.
    """
    if (directory / "config.json").exists():
        if not _holds_weights(directory) and (
            graphs := [*directory.glob("*.onnx"), *directory.glob("onnx/*.onnx")]
        ):
            raise ExportError(
                f"{directory} holds an ONNX model ({min(graphs).relative_to(directory)}), as for transformers.js, and "
                f"no weights to export. {_ORIGINAL}"
            )
        return
    if is_bundle(directory):
        raise ExportError(
            f"{directory} is a bundle already. Use it as the model, as in: llmb generate -m {directory}"
        )
    if files := sorted(directory.glob("*.gguf")):
        raise ExportError(f"{directory} holds GGUF files. Pass the one to export: llmb export {files[0]}")


def _holds_weights(directory: Path) -> bool:
    return any(next(directory.glob(pattern), None) for pattern in ("*.safetensors*", "*.bin*"))


def _begins_as_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_SAFETENSORS_BRACE + 1)[_SAFETENSORS_BRACE:] == b"{"


def _is_torchscript(path: Path) -> bool:
    with suppress(zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())
    return False
