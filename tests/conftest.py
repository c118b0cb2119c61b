"""Long proofs: every run takes a sample of them, ``make prove`` runs them whole and writes what it measured."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

_RESULTS = pytest.StashKey[dict[str, object]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--prove", type=Path, metavar="FILE", help="run the long proofs whole, write results to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.prove is not None:
        return
    long = [item for item in items if item.get_closest_marker("prove")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def proving(pytestconfig: pytest.Config) -> bool:
    """Whether to run proofs whole instead of on a sample."""
    return pytestconfig.option.prove is not None


@pytest.fixture(scope="session")
def record_proof(pytestconfig: pytest.Config) -> Callable[..., None]:
    """``record_proof("int8 KL on prose", mean=0.004, tokens=2000)``: put numbers into the results file."""

    def record(name: str, **measured: object) -> None:
        pytestconfig.stash[_RESULTS][name] = measured

    return record


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    path: Path | None = session.config.option.prove
    if path is None or exitstatus != pytest.ExitCode.OK:
        return
    results = {"machine": f"{platform.machine()}, Python {platform.python_version()}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results | session.config.stash[_RESULTS], indent=2) + "\n", encoding="utf-8")
