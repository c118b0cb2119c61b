"""What is fuzzed: a target makes an input from random numbers and gives it to our code."""

import importlib
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

from llmbuilder.errors import LLMBuilderError


class DifferenceError(Exception):
    """An accepted input that the reference reads otherwise."""


class Target(Protocol):
    """One kind of input; made once in each process, with an empty folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Prepare what inputs are made from."""

    def make(self, random: Random) -> Any:
        """An input: bytes, text, or what has a `repr`."""

    def run(self, made: Any) -> None:
        """Give it to our code.

        Raises:
            LLMBuilderError: it is refused.
            DifferenceError: it is accepted, and read wrongly.
        """


class Entry(NamedTuple):
    """Where a target is, and how many inputs a whole run gives it."""

    module: str
    kind: str
    inputs: int
    light: bool = True
    """It needs neither a session nor a process of its own; over a million inputs are given to these together."""
    contained: bool = False
    """Our code runs it in a process that may end or be ended: such an input is refused, and no fault."""


TARGETS = {
    "manifest": Entry("manifests", "Manifests", 150_000),
    "graph": Entry("graphs", "Graphs", 200_000),
    "tokenizer-bounds": Entry("tokenizers", "TokenizerBounds", 200_000),
    "jsonl": Entry("lines", "Lines", 150_000),
    "conversation": Entry("lines", "Conversations", 100_000),
    "config": Entry("options", "Configurations", 150_000),
    "gguf": Entry("ggufs", "GGUFs", 50_000),
    "source-options": Entry("sources", "SourceOptions", 50_000),
    "template": Entry("templates", "Templates", 50_000, contained=True),
    "graph-run": Entry("graphs", "GraphRuns", 2500, light=False),
    "tokenizer-run": Entry("tokenizers", "TokenizerRuns", 3000, light=False),
    "constraint": Entry("generating", "Constraints", 1500, light=False),
    "filter": Entry("generating", "Filters", 1500, light=False),
    "checkpoint": Entry("checkpoints", "Checkpoints", 2000, light=False),
    "source": Entry("sources", "Sources", 2500, light=False),
    "vocabulary": Entry("sources", "Vocabularies", 1000, light=False),
}


def make_target(name: str, folder: Path) -> Target:
    """The target of that name."""
    entry = TARGETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    kind: type[Target] = getattr(importlib.import_module(f"fuzzing.{entry.module}"), entry.kind)
    return kind(folder)


def seeded(name: str, number: int) -> Random:
    """The random numbers of one input, the same in every process."""
    return Random(f"{name}:{number}")


def judge(target: Target, made: Any) -> str:
    """``accepted``, ``refused``, or what is wrong."""
    try:
        target.run(made)
    except LLMBuilderError:
        return "refused"
    except DifferenceError as error:
        return f"differs: {error}"[:600]
    except Exception as error:  # noqa: BLE001 (that any may come is what is looked for)
        return f"foreign {type(error).__name__}: {error}"[:600]
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            return f"foreign {type(error).__name__}: {error}"[:600]
        raise
    return "accepted"
