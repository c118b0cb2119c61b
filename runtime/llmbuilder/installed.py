"""Which distributions are installed, as `importlib.metadata` knows them.

Loading that takes longer than all else that ``import llmbuilder`` does, so whether one is there is seen by the names of
folders, where nothing but folders is looked into.
"""

import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_RECORDS = ("dist-info", "egg-info")
_FACTS = ("METADATA", "PKG-INFO")
_SEPARATORS = re.compile(r"[-_.]+")


def has(name: str) -> bool:
    """Whether there is a distribution ``name``."""
    places = [Path(place) for place in sys.path]
    if any(map(_finds_elsewhere, sys.meta_path)) or any(map(_is_archive, places)):
        return version(name) is not None
    return any(_holds(place, _normal(name)) for place in places)


def version(name: str) -> str | None:
    """The version of the distribution ``name``; None: there is none."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _finds_elsewhere(finder: object) -> bool:
    """Whether an importer may know distributions that are not on the path."""
    return finder is not PathFinder and hasattr(finder, "find_distributions")


def _is_archive(place: Path) -> bool:
    return place.suffix.lower() == ".egg" or place.is_file()


def _holds(folder: Path, name: str) -> bool:
    """Whether a folder has a distribution of this name."""
    try:
        records = [child for child in folder.iterdir() if _distribution(child.name) == name]
    except OSError:
        return False
    return any(record.is_file() or any((record / facts).is_file() for facts in _FACTS) for record in records)


def _distribution(record: str) -> str | None:
    """What a record such as ``some_thing-1.0.dist-info`` is of; None: it is something else."""
    stem, _, ending = record.lower().rpartition(".")
    return _normal(stem.partition("-")[0]) if ending in _RECORDS else None


def _normal(name: str) -> str:
    """A name as indexes compare it (PEP 503)."""
    return _SEPARATORS.sub("_", name).lower()
