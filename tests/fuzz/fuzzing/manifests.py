"""Manifests, most with a digest that fits what was changed."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from fuzzing import seeds
from fuzzing.changes import changed_value, written
from fuzzing.targets import DifferenceError
from llmbuilder.bundle.manifest import digest
from llmbuilder.bundle.reading import parse_manifest

_PATH = Path("manifest.json")


class Manifests:
    """Changed manifests of both versions."""

    def __init__(self, folder: Path) -> None:
        """Read those of stored bundles."""
        self._seeds = seeds.manifests()

    def make(self, random: Random) -> bytes:
        """The bytes of a manifest."""
        raw = changed_value(random.choice(self._seeds), random)
        if isinstance(raw, dict) and "digest" in raw and random.random() < 0.9:
            raw["digest"] = _digest(raw)
        return written(raw, random)

    def run(self, made: bytes) -> None:
        """Read it; what it says must be what `json` reads."""
        manifest = parse_manifest(made, _PATH)
        raw, again = json.loads(made), json.loads(manifest.to_json())
        raw["digest"] = again["digest"]  # of what is written, with all defaults
        if raw["version"] != 1 and not _within(raw, again):
            raise DifferenceError(f"json reads {raw}, we {again}")
        if replace(parse_manifest(manifest.to_json().encode(), _PATH), version=manifest.version) != manifest:
            raise DifferenceError("what is written is read otherwise")


def _digest(raw: dict[str, Any]) -> Any:
    try:
        return digest(raw)
    except (ValueError, TypeError, RecursionError):
        return raw["digest"]


def _within(part: Any, whole: Any) -> bool:
    """Whether all that ``part`` says is in ``whole``, which also has what ``part`` leaves to defaults."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_within, part, whole))
    return type(part) is type(whole) and bool(part == whole)
