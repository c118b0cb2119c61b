"""Make bundles of shells again, on the machine where they are measured."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from cudacheck.shells import KEPT, Array, Piece, Recipe, packed, unpack
from llmbuilder.bundle.manifest import MANIFEST_NAME, WEIGHTS_NAME, FileEntry
from llmbuilder.bundle.reading import parse_manifest
from llmbuilder.userdata import file_sha256

ROOT = Path(__file__).resolve().parent.parent.parent
SEED = 11


def fill_shell(shell: Path, target: Path, device: str = "cpu") -> Path:
    """Make the bundle ``target`` of a shell, drawing its random weights on a device of torch.

    Raises:
        ValueError: the checkpoint is another one than the shell was made with.
    """
    recipe = Recipe.read(shell)
    target.mkdir(parents=True)
    with (target / WEIGHTS_NAME).open("wb") as file:
        _write(file, recipe, unpack(shell, KEPT), device)
    entry = FileEntry(size=recipe.size, sha256=file_sha256(target / WEIGHTS_NAME))
    if recipe.sha256 is not None and entry.sha256 != recipe.sha256:
        raise ValueError(f"{recipe.checkpoint} does not give the weights of {shell}: make the shells again")
    for name in packed(shell):
        content = unpack(shell, name)
        if name == MANIFEST_NAME:
            manifest = parse_manifest(content, shell / name)
            manifest = replace(manifest, files={**manifest.files, WEIGHTS_NAME: entry})
            content = manifest.to_json().encode()
        (target / name).write_bytes(content)
    return target


def bundle_digest(bundle: Path) -> str:
    """A short name for what a bundle holds."""
    return hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest()[:12]


def checkpoint_tensors(path: Path) -> dict[str, Array]:
    """The tensors of an LLMBuilder checkpoint, by name."""
    state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    return {name: tensor.numpy() for name, tensor in state.items()}


def _write(file: BinaryIO, recipe: Recipe, kept: bytes, device: str) -> None:
    contents = _contents(recipe, device)
    at = 0
    for start, end in recipe.gaps():
        file.write(kept[at : at + end - start])
        at += end - start
        file.write(next(contents, b""))


def _contents(recipe: Recipe, device: str) -> Iterator[bytes | memoryview]:
    """The bytes of each piece, in their order."""
    tensors = checkpoint_tensors(ROOT / recipe.checkpoint) if recipe.checkpoint else {}
    generator = torch.Generator(device).manual_seed(SEED)
    for piece in recipe.pieces:
        array = _drawn(piece, generator) if piece.tensor is None else _copied(piece, tensors)
        yield np.ascontiguousarray(array).data.cast("B")


def _drawn(piece: Piece, generator: torch.Generator) -> Array:
    normal = torch.randn(piece.shape, generator=generator, device=generator.device)
    array: Array = (normal * piece.scale).to(getattr(torch, piece.dtype)).cpu().numpy()
    return array


def _copied(piece: Piece, tensors: Mapping[str, Array]) -> Array:
    tensor = tensors[str(piece.tensor)]
    return (tensor.T if piece.transposed else tensor).astype(piece.dtype)
