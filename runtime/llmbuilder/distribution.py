"""This distribution as pip knows it: what its extras bring, and what it was installed from.

No package index has it, and a name that nobody holds there may become anybody's. So no message advises to install it by
name: what is missing is named itself, and what it was installed from installs it again.
"""

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse

NAME = "llmbuilder-runtime"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where torch's wheels for CPUs are: those of PyPI for Linux bring gigabytes of CUDA."""
_ROOT = Path(__file__).parents[2]
_OF_EXTRA = re.compile(r"([^;]+?)\s*;.*\bextra\s*==\s*['\"]([\w-]+)['\"]")


def installed_version() -> str:
    """The version installed; a checkout that nobody installed has none."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def install_line(extra: str) -> str:
    """The command that installs what an extra brings, into an environment that has this distribution already."""
    index = ["--extra-index-url", TORCH_INDEX] if extra == "export" else []
    return " ".join(["pip install", *index, *(f'"{each}"' for each in packages(extra))])


def packages(extra: str) -> list[str]:
    """The requirements of an extra, such as ``onnxruntime<2,>=1.28``; a checkout names itself."""
    try:
        required = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        required = []
    found = (_OF_EXTRA.fullmatch(line) for line in required)
    return [match[1] for match in found if match and match[2] == extra] or [f"{_ROOT}[{extra}]"]


def requirement(*extras: str) -> str | None:
    """What gives pip this very distribution again, with extras; None where it came from has gone or is not known.

    A wheel, a folder or a repository is named by its address (PEP 610 has pip remember it); what came from an index is
    named as the version that it is.
    """
    named = f"{NAME}[{','.join(extras)}]" if extras else NAME
    try:
        installed = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return f"{named} @ {_ROOT.as_uri()}" if (_ROOT / "pyproject.toml").is_file() else None
    remembered = installed.read_text("direct_url.json")
    if remembered is None:
        return f"{named}=={installed.version}"
    address = _address(json.loads(remembered))
    return None if address is None else f"{named} @ {address}"


def changed_files() -> list[str]:
    """The files, by their names in the wheel, that are not as pip installed them: gone, or of another content."""
    try:
        listed = metadata.files(NAME) or []
    except metadata.PackageNotFoundError:
        return []
    hashes = {file: file.hash for file in listed if file.hash is not None}  # RECORD has none of itself
    return [str(file) for file, known in hashes.items() if _hash(file, known.mode) != known.value]


def _hash(file: metadata.PackagePath, mode: str) -> str | None:
    """As RECORD writes it; None if the file cannot be read."""
    try:
        content = Path(file.locate()).read_bytes()
    except OSError:
        return None
    return urlsafe_b64encode(hashlib.new(mode, content).digest()).decode().rstrip("=")


def _address(remembered: dict[str, dict[str, str] | str]) -> str | None:
    from urllib.request import url2pathname  # slow to load, and seldom needed

    url = str(remembered["url"])
    place = urlparse(url)
    if place.scheme == "file" and not Path(url2pathname(place.path)).exists():
        return None
    repository = remembered.get("vcs_info")
    if not isinstance(repository, dict):
        return url
    return f"{repository['vcs']}+{url}@{repository['commit_id']}"
