"""A model with its tokenizer, loaded once in a process however many generators use it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from llmbuilder import forking, logs
from llmbuilder.bundle.manifest import MANIFEST_NAME, ModelFacts
from llmbuilder.bundle.opening import Bundle, open_bundle
from llmbuilder.bundle.resolve import find_bundle
from llmbuilder.checks import check_path
from llmbuilder.cleanup import Closing, undone_on_error
from llmbuilder.config import GenerationConfig
from llmbuilder.decoding.rows import RowDecoder
from llmbuilder.engine.beside import beside
from llmbuilder.engine.installation import check_installation
from llmbuilder.engine.mapped import give_back_freed
from llmbuilder.engine.model import Model
from llmbuilder.engine.session import Device, check_execution
from llmbuilder.engine.threads import usable_threads
from llmbuilder.errors import BundleError, ConfigError, TokenizerError
from llmbuilder.tokenizer import Tokenizer, load_tokenizer
from llmbuilder.userdata import file_sha256

_LOG = logs.logger(__name__)
KEPT = 2
"""Models that stay loaded when nobody uses them."""


class LanguageModel(Protocol):
    """A model as generators see it."""

    @property
    def facts(self) -> ModelFacts:
        """The shape of the network."""
        ...

    def decoder(self, *, rows: int = 1, capacity: int = 256, max_rows: int = 0) -> RowDecoder:
        """Start a computation, see `llmbuilder.decoding.loop.OpenDecoder`."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Engine:
    """A model, its tokenizer and what follows from both."""

    model: LanguageModel
    tokenizer: Tokenizer
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    defaults: Mapping[str, Any]
    chat_template: str | None = None
    """Jinja source of the model's own chat template."""
    pad_token_id: int | None = None
    bundle: Bundle | None = None
    """Where it was loaded from; made by hand it has none."""

    def __repr__(self) -> str:
        """As `summary`."""
        return f"<Engine: {self.summary}>"

    @property
    def summary(self) -> str:
        """The model in a few words."""
        facts = self.model.facts
        where = "made by hand" if self.bundle is None else f"from {self.bundle.directory}"
        return f"{facts.architecture} of {facts.parameters:,} parameters, window of {facts.context_length}, {where}"

    @property
    def context_length(self) -> int:
        """The window in tokens."""
        return self.model.facts.context_length

    @property
    def usable_vocab(self) -> int:
        """Ids that both model and tokenizer know; a padded model's others are never generated."""
        return min(self.model.facts.vocab_size, self.tokenizer.vocab_size)


class Lease(Closing):
    """The use of a model that is loaded once for all its users. Closing gives it back; closing again does nothing."""

    def __init__(self, engine: Engine, give_back: "Callable[[Lease], None]") -> None:
        """Use ``engine`` until ``give_back``, which may be told more than once."""
        self.engine = engine
        self._give_back = give_back

    def close(self) -> None:
        """Give the model back; it is unloaded when nobody uses it and newer ones have taken its place."""
        self._give_back(self)


def acquire(
    model_path: str | PathLike[str],
    tokenizer_path: str | PathLike[str] | None,
    *,
    device: Device,
    threads: int | None,
    deterministic: bool = True,
) -> Lease:
    """Find, verify and load a model, or use the one already loaded, until the lease is closed.

    Raises:
        ModelNotFoundError, BundleError, TokenizerError, DeviceError: nothing there, damaged, not matching.
        ConfigError: no such device, or no number of threads.
    """
    check_execution(device, threads)
    tokenizer = None if tokenizer_path is None else check_path("tokenizer_path", tokenizer_path)
    directory = find_bundle(check_path("model_path", model_path), tokenizer)
    stamp = (directory / MANIFEST_NAME).stat()
    key = (directory.resolve(), stamp.st_mtime_ns, stamp.st_ino, device, threads, deterministic)
    lease = _LOADED.take(
        key, lambda: load_engine(directory, device=device, threads=threads, deterministic=deterministic)
    )
    if tokenizer is not None and lease.engine.bundle is not None:
        with undone_on_error(lease.close):
            _check_tokenizer(tokenizer, lease.engine.bundle)
    return lease


def load_engine(
    directory: Path,
    *,
    device: Device = "auto",
    threads: int | None = None,
    cache_bytes: int | None = None,
    deterministic: bool = True,
) -> Engine:
    """Verify and load the bundle in ``directory``, without sharing it.

    Args:
        directory: the bundle.
        device: where to run, see `acquire`.
        threads: CPU threads; None: as many as this process may use.
        cache_bytes: most bytes that the KV cache of one computation may take; None: half of what is free when it
            begins.
        deterministic: on a card, take the attention whose results are the same from run to run.

    Raises:
        ModelNotFoundError, BundleError, TokenizerError, DeviceError: nothing there, damaged, not matching.
        ConfigError: no such device, or no number of threads.
    """
    started = time.monotonic()
    bundle = open_bundle(directory)
    facts = bundle.manifest.tokenizer
    _check_defaults(bundle)
    check_installation()  # loads ONNX Runtime, before two threads share Python
    # Whoever forks waits for both: what the other thread holds no child could give back.
    with forking.LOADING, beside(lambda: _load_tokenizer(bundle)) as tokenizer:
        model = Model.open(
            directory,
            bundle.manifest,
            device=device,
            threads=threads,
            cache_bytes=cache_bytes,
            content=bundle.graph_content,
            deterministic=deterministic,
        )
    template = bundle.chat_template
    bundle.check_unchanged()
    give_back_freed()
    _LOG.info(
        "loaded %s on %s with %d threads in %.2f seconds",
        directory,
        bundle.manifest.device if device == "auto" else device,
        usable_threads(bundle.manifest.model, threads),
        time.monotonic() - started,
    )
    return Engine(
        model=model,
        tokenizer=tokenizer.result,
        bos_token_id=facts.bos_token_id,
        eos_token_ids=facts.eos_token_ids,
        defaults=bundle.manifest.generation,
        chat_template=template,
        pad_token_id=facts.pad_token_id,
        bundle=bundle,
    )


def _load_tokenizer(bundle: Bundle) -> Tokenizer:
    """The bundle's tokenizer, which has no more tokens than the model."""
    tokenizer = load_tokenizer(bundle.tokenizer)
    known = bundle.manifest.model.vocab_size
    if tokenizer.vocab_size > known:
        raise TokenizerError(
            f"{bundle.tokenizer} has {tokenizer.vocab_size} tokens, the model only {known}. "
            "Export the model with its own tokenizer."
        )
    return tokenizer


def _check_defaults(bundle: Bundle) -> None:
    """The generation defaults in a manifest are options of this release."""
    try:
        GenerationConfig.merge(bundle.manifest.generation)
    except ConfigError as error:
        raise BundleError(
            f"{bundle.directory / MANIFEST_NAME} has generation defaults that cannot be used: {error} "
            "Export the model again with this release."
        ) from error


def _check_tokenizer(path: Path, bundle: Bundle) -> None:
    """The tokenizer a caller names must be the one in the bundle, byte for byte."""
    if not path.exists():
        raise TokenizerError(
            f"There is no tokenizer at {path}. Leave tokenizer_path out to use the bundle's own."
        )
    expected = bundle.manifest.files[bundle.manifest.tokenizer.file].sha256
    suffix = bundle.tokenizer.suffix
    candidates: Sequence[Path] = sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    if not any(file_sha256(candidate) == expected for candidate in candidates if candidate.is_file()):
        raise TokenizerError(
            f"No tokenizer in {path} is the one that {bundle.directory} was exported with. "
            "Export the model again with this tokenizer, or leave tokenizer_path out."
        )


@dataclass(slots=True)
class _Loaded:
    """An engine with those who use it."""

    engine: Engine
    users: set[Lease] = field(default_factory=set)


class _Registry:
    """Engines by key; the least recently used of those that nobody uses are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[object, _Loaded] = OrderedDict()
        forking.tell(self)

    def after_fork(self) -> None:
        """Unlock: the thread that was loading is the parent's. Entries are whole at any time."""
        self._lock = threading.Lock()

    def take(self, key: object, load: Callable[[], Engine]) -> Lease:
        with self._lock:
            if key not in self._entries:
                self._entries[key] = _Loaded(load())
            entry = self._entries[key]
            lease = Lease(entry.engine, lambda lease: self._give_back(entry, lease))
            entry.users.add(lease)
            self._entries.move_to_end(key)
            self._trim()
        return lease

    def _give_back(self, entry: _Loaded, lease: Lease) -> None:
        with self._lock:
            entry.users.discard(lease)
            self._trim()

    def _trim(self) -> None:
        idle = [key for key, entry in self._entries.items() if not entry.users]
        for key in idle[: max(0, len(self._entries) - KEPT)]:
            _LOG.debug("unloaded %s", self._entries.pop(key).engine.summary)


_LOADED = _Registry()
