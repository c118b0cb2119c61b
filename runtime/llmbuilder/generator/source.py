"""Where a generator has its model from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbuilder.checks import StrPath
from llmbuilder.cleanup import Closing
from llmbuilder.engine.loading import Engine, Lease, acquire
from llmbuilder.engine.session import Device


@dataclass(frozen=True)
class Source(Closing):
    """An engine: leased, or its owner's."""

    engine: Engine
    lease: Lease | None = None
    again: dict[str, Any] | None = None
    """Arguments that open the same model elsewhere; None: an engine made by hand has no path."""

    def close(self) -> None:
        """Give a leased model back."""
        if self.lease is not None:
            self.lease.close()


def take(
    model: StrPath | Engine,
    tokenizer_path: StrPath | None,
    *,
    device: Device,
    threads: int | None,
    deterministic: bool,
) -> Source:
    """The engine that is given, or that of a path; arguments and errors are those of `TextGenerator`."""
    if isinstance(model, Engine):
        return Source(model)
    how = {"device": device, "threads": threads, "deterministic": deterministic}
    lease = acquire(model, tokenizer_path, device=device, threads=threads, deterministic=deterministic)
    tokenizer_path = None if tokenizer_path is None else Path(tokenizer_path).absolute()
    paths = {"model_path": Path(model).absolute(), "tokenizer_path": tokenizer_path}
    return Source(lease.engine, lease, paths | how)
