"""From the path a caller gives to a bundle directory: itself, the one made from that checkpoint, or a new one."""

import contextlib
import os
import shlex
from pathlib import Path

from llmbuilder.bundle.exporter import STDERR, exporter, run
from llmbuilder.bundle.manifest import MANIFEST_NAME
from llmbuilder.bundle.opening import is_bundle, require_bundle
from llmbuilder.bundle.reading import read_manifest
from llmbuilder.cleanup import writing
from llmbuilder.errors import ExportError, LLMBuilderError, ModelNotFoundError
from llmbuilder.showing import write_aside
from llmbuilder.userdata import cache_directory, remembered_sha256

CHECKPOINT_NAME = "model.pt"
"""What LLMBuilder calls the checkpoint in a folder of its own."""


def find_bundle(model_path: Path, tokenizer_path: Path | None) -> Path:
    """Return the bundle for ``model_path``, exporting a checkpoint once if that is needed and possible.

    A bundle's directory is returned as it is; a folder in which LLMBuilder's training left its model stands for what it
    holds, ``model.pt`` or ``model-onnx``. For a checkpoint file the bundle beside it (``model.pt`` -> ``model-onnx``)
    or in the user's cache is used if it was made from this very file, by SHA-256.

    Raises:
        ModelNotFoundError: nothing at the path, a bundle's file, or a checkpoint that cannot be exported here.
        BundleError: a directory that is no bundle.
        ExportError: the exporter failed; its own message went to stderr.
        FileError: nothing can be written where the bundle would go.
    """
    model_path = model_in(model_path)
    if not model_path.exists():
        raise ModelNotFoundError(
            f"There is no model at {model_path}. Check the path, or make a bundle with `llmb export`."
        )
    if model_path.is_dir():
        if not is_bundle(model_path) and (model_path / "config.json").is_file():
            raise ModelNotFoundError(
                f"{model_path} is a model to export, not a bundle. Run: llmb export {shlex.quote(str(model_path))}"
            )
        require_bundle(model_path)
        return model_path
    if _is_part_of_bundle(model_path):
        raise ModelNotFoundError(
            f"{model_path} is a file of a bundle. Pass its directory, {model_path.parent}, as the model."
        )
    digest = remembered_sha256(model_path)
    beside = default_output(model_path)
    cached = cache_directory() / "bundles" / digest
    for candidate in (beside, cached):
        if _made_from(candidate, digest):
            return candidate
    if exporter() is None:
        raise ModelNotFoundError(
            f"{model_path} is a checkpoint and must be exported once, which needs PyTorch. Run: llmb exporter install, "
            f"which gives it an environment of its own, then: {_command(model_path, tokenizer_path)}"
        )
    target = cached if beside.exists() or not os.access(beside.parent, os.W_OK) else beside
    was_there = target.exists()
    try:
        return _export(model_path, tokenizer_path, target, digest)
    except ExportError:
        # An export that was killed may have left its predecessor aside, which this one has put back.
        if was_there or not target.exists():
            raise
        return find_bundle(model_path, tokenizer_path)


def model_in(folder: Path) -> Path:
    """What a folder of LLMBuilder's stands for; anything else for itself."""
    if not folder.is_dir() or is_bundle(folder):
        return folder
    checkpoint = folder / CHECKPOINT_NAME
    exported = default_output(checkpoint)
    if checkpoint.is_file():
        return checkpoint
    return exported if is_bundle(exported) else folder


def checkpoint_in(folder: Path) -> Path:
    """What is exported of a folder of LLMBuilder's; anything else, such as a Hugging Face directory, for itself."""
    checkpoint = folder / CHECKPOINT_NAME
    return checkpoint if checkpoint.is_file() and not (folder / "config.json").exists() else folder


def default_output(source: Path) -> Path:
    """Where the bundle of a checkpoint or a model's directory belongs: ``model/model.pt`` -> ``model/model-onnx``."""
    absolute = source.absolute()
    name = absolute.name if absolute.is_dir() else absolute.stem
    return absolute.with_name(f"{name}-onnx")


def _is_part_of_bundle(path: Path) -> bool:
    manifest = path.with_name(MANIFEST_NAME)
    try:
        return path.name in {MANIFEST_NAME, *read_manifest(manifest).files}
    except LLMBuilderError:
        return False


def _made_from(directory: Path, digest: str) -> bool:
    if not is_bundle(directory):
        return False
    try:
        return read_manifest(directory / MANIFEST_NAME).source.sha256 == digest
    except LLMBuilderError:
        return False


def _export(checkpoint: Path, tokenizer: Path | None, target: Path, digest: str) -> Path:
    """Run the exporter in a process of its own, so that torch never enters this one."""
    from filelock import FileLock  # only who exports waits for it to load

    # The lock lies beside what it guards: several users may share a folder, but not a cache directory.
    lock = target.with_name(f".{target.name}.lock")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        taken = FileLock(lock).acquire()
    with taken:
        try:
            if not _made_from(target, digest):  # else another process was faster
                _run_exporter(checkpoint, tokenizer, target)
        finally:
            # While it is held: whoever waits for it sees that its name is gone and takes a new one.
            with contextlib.suppress(OSError):  # Windows keeps what is open; the lock removes itself there
                lock.unlink()
    return target


def _run_exporter(checkpoint: Path, tokenizer: Path | None, target: Path) -> None:
    write_aside(f"Exporting {checkpoint} to {target}, once.\n")
    command = [*(exporter() or ()), "-m", "llmbuilder_export", str(checkpoint), "--output", str(target)]
    if tokenizer is not None:
        command += ["--tokenizer", str(tokenizer)]
    if run(command, STDERR) != 0:  # by number, because the sys.stderr of a notebook has none
        raise ExportError(f"Exporting {checkpoint} failed, see above. Run: {_command(checkpoint, tokenizer)}")


def _command(checkpoint: Path, tokenizer: Path | None) -> str:
    named = [] if tokenizer is None else ["--tokenizer", str(tokenizer)]
    return shlex.join(["llmb", "export", str(checkpoint), *named])
