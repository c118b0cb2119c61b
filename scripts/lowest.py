"""Print, as constraints for pip, the lowest versions that pyproject.toml allows, and the pins of the test tools.

    python scripts/lowest.py > constraints-lowest.txt

What our requirements require in their turn is left to pip, which takes the newest that fits.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = "dev"
"""The extra whose packages only we use: no range of theirs is promised to anyone."""


def lowest(project: Mapping[str, Any], pins: Mapping[str, str]) -> dict[str, str]:
    """Version of each package that a project table names, and of the tools as pinned."""
    extras: dict[str, list[str]] = dict(project["optional-dependencies"])
    tools = [re.split("[<>=]", requirement)[0] for requirement in extras.pop(TOOLS)]
    promised = project["dependencies"] + [each for extra in extras.values() for each in extra]
    return dict(floor(requirement) for requirement in promised) | {name: pins[name] for name in tools}


def floor(requirement: str) -> tuple[str, str]:
    """Name and lowest version of a requirement.

    Raises:
        ValueError: It does not begin with a lowest version.
    """
    match = re.match(r"([\w-]+)>=([\w.]+)", requirement)
    if match is None:
        raise ValueError(f"{requirement!r} does not say its lowest version first: write it as name>=1.0,<2.")
    return match[1], match[2]


def main() -> None:
    """Read both files, print one line a package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins |= {name.replace("_", "-"): version for name, version in pins.items()}
    print("\n".join(f"{name}=={version}" for name, version in lowest(project, pins).items()))


if __name__ == "__main__":
    main()
