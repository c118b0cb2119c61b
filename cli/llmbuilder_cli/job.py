"""What ``llmb generate text`` is to do, and the command line that says so."""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbuilder_cli.filters import FILTERS
from llmbuilder_cli.forms import FORMS
from llmbuilder_cli.options import FLAGS
from llmbuilder_cli.writing import WRITING

if TYPE_CHECKING:
    from llmbuilder.inference import OutputGate

_IN_TABLES = FORMS | FILTERS | WRITING


@dataclass(frozen=True)
class Job:
    """What ``llmb generate text`` is to do. ``options`` are those of `GenerationConfig`."""

    model: Path | None
    tokenizer: Path | None = None
    prompt: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    interactive: bool = False
    as_json: bool = False
    verbose: bool = False
    form: dict[str, Any] = field(default_factory=dict)
    """Arguments of `ConstrainedGenerator`; a JSON schema and a grammar are files."""
    filter: dict[str, Any] = field(default_factory=dict)
    """Settings of `OutputFilter`, as their flags have them."""
    gate: "OutputGate | None" = None
    """What they make of them, if there are any."""
    writing: dict[str, Any] = field(default_factory=dict)
    """What `CreativeWriter` is to write, as the flags of `WRITING` have it."""
    device: str = "auto"
    threads: int | None = None

    def command(self) -> str:
        """The command line that does the same."""
        words = ["llmb", "generate", "text", "--model", str(self.model)]
        words += ["--tokenizer", str(self.tokenizer)] if self.tokenizer else []
        words += ["--interactive"] if self.interactive else ["--prompt", self.prompt or ""]
        words += ["--json"] if self.as_json else []
        words += ["--verbose"] if self.verbose else []
        words += ["--device", self.device] if self.device != "auto" else []
        words += ["--threads", str(self.threads)] if self.threads is not None else []
        for name, value in (self.form | self.filter | self.writing).items():
            words += _typed(_IN_TABLES[name].words, value)
        for name, value in self.options.items():
            words += _words(name, value)
        return shlex.join(words)


def _typed(flag: str, value: Any) -> list[str]:
    """A flag of a table with its values."""
    if value is True:
        return [flag]
    return [word for each in (value if isinstance(value, list) else [value]) for word in (flag, str(each))]


def _words(name: str, value: Any) -> list[str]:
    """An option as words of a command."""
    if name == "stop_strings":
        return [word for text in value for word in ("--stop", text)]
    if name == "do_sample" and value is False:
        return ["--greedy"]
    if name in FLAGS and value is not None:
        return [FLAGS[name].words, str(value)]
    return ["--set", f"{name}={json.dumps(value)}"]
