"""Environments of peers, made once."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from os import environ
from pathlib import Path

from peers.places import HOME, ROOT
from peers.protocol import LeftOutError

_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install")
_SAID = 12
"""Last lines of a failed program that are shown."""


def environment(name: str, *packages: str, beside: str, variables: Mapping[str, str] = {}) -> Path:
    """Make an environment of ``packages`` unless it is there.

    Args:
        name: its folder.
        packages: what pip is to install.
        beside: an environment of this project whose packages are seen behind its own: torch is installed once.
        variables: added to the process environment of pip.

    Returns:
        Its Python.
    """
    folder = HOME / name
    python, done = folder / "bin" / "python", folder / "installed"
    recipe = "\n".join([beside, *packages])
    if done.exists() and done.read_text(encoding="utf-8") == recipe:
        return python
    say(f"installing {', '.join(packages)}")
    shutil.rmtree(folder, ignore_errors=True)
    call([sys.executable, "-m", "venv", str(folder)])
    _site(folder).joinpath("beside.pth").write_text(f"{_site(ROOT / beside).resolve()}\n", encoding="utf-8")
    call([str(python), *_PIP, *packages], variables)
    done.write_text(recipe, encoding="utf-8")
    return python


def call(command: Sequence[str], variables: Mapping[str, str] = {}, folder: Path | None = None) -> None:
    """Run a program to its end.

    Raises:
        LeftOutError: it failed; with the last lines that it said.
    """
    done = subprocess.run(
        command,
        env={**environ, **variables},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-_SAID:])
        raise LeftOutError(f"{' '.join(command)} ended with status {done.returncode}:\n{said}")


def say(message: str) -> None:
    """Tell whoever waits what is done."""
    print(message, file=sys.stderr, flush=True)


def _site(folder: Path) -> Path:
    found = sorted(folder.glob("lib/python3.*/site-packages"))
    if not found:
        raise LeftOutError(f"There is no environment in {folder}; `make bench-peers` makes it.")
    return found[0]
