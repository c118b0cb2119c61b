"""What hatchling asks when it builds.

The page that an index shows is the README, whose links lead somewhere there. The wheel has the demo model; an editable
installation finds it in the checkout.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


def page(readme: str, repository: str | None, version: str) -> str:
    """A README with whole addresses in place of relative links; without a repository with an address, without them."""
    if repository is None:
        return _LINK.sub(r"\1", readme)
    return _LINK.sub(rf"[\1]({repository.rstrip('/')}/blob/v{version}/\2)", readme)


class Page(MetadataHookInterface):
    """Takes the address of the repository from ``[project.urls]``, key ``Repository``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the page to the metadata."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": page(readme, repository, metadata["version"]),
        }


class Demo(BuildHookInterface[Any]):
    """Puts the demo model into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add its bundle."""
        if version == "standard":
            build_data["force_include"]["artifacts/storyteller/bundle"] = "llmbuilder/storyteller"


def get_build_hook() -> type[BuildHookInterface[Any]]:
    """What hatchling looks for."""
    return Demo


def get_metadata_hook() -> type[MetadataHookInterface]:
    """What hatchling looks for."""
    return Page
