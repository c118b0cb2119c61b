"""Every engine that takes part, ours first."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import cast

from peers import ct2, genai, hf, llama, openvino, ours
from peers.protocol import LeftOutError, Peer

MODULES: Mapping[str, ModuleType] = {
    "ours": ours,
    "llama": llama,
    "genai": genai,
    "openvino": openvino,
    "ct2": ct2,
    "hf": hf,
}
"""By name; none of them imports its engine before a worker opens it."""


def peer(name: str) -> Peer:
    """A module as what it is."""
    return cast("Peer", MODULES[name])


def configurations() -> dict[str, str]:
    """Names of all configurations, in the order of a pass, and the peer of each."""
    return {name: module for module in MODULES for name in peer(module).CONFIGURATIONS}


def chosen(only: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Configurations of the peers ``only`` that are among ``names``; an empty choice means all.

    Raises:
        LeftOutError: there is no such name.
    """
    known = configurations()
    for name in names:
        if name not in known:
            raise LeftOutError(f"There is no configuration {name}; there are {', '.join(known)}.")
    return {
        name: module
        for name, module in known.items()
        if (not only or module in only) and (not names or name in names)
    }
