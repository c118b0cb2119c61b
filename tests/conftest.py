"""What several folders share: tokenizers made on the spot, and the long proofs.

Every run takes a sample of the proofs; ``make prove`` runs them whole and writes what it measured.
"""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from loaded_llmb import LoadedPython

# No test measures time, and a machine may be busy.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# A shell has what it starts in the background ignore Ctrl-C, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever runs the tests may use the program too.
os.environ["XDG_CONFIG_HOME"] = "/nowhere"
os.environ["XDG_DATA_HOME"] = "/nowhere"
for variable in ("LLMB_MODEL", "LLMB_THREADS", "LLMB_DEVICE", "LLMB_CONFIG", "LLMB_API_KEY"):
    os.environ.pop(variable, None)

_RESULTS = pytest.StashKey[dict[str, object]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--prove",
        type=Path,
        metavar="FILE",
        help="run the long proofs whole, write what they measured to FILE",
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
    """``record_proof("int8 KL on prose", mean=0.004, tokens=2000)``: put numbers into the file of results."""

    def record(name: str, **measured: object) -> None:
        pytestconfig.stash[_RESULTS][name] = measured

    return record


@pytest.fixture(scope="session")
def loaded_python() -> Iterator[LoadedPython]:
    """A Python that has loaded everything once and runs programs in forks of itself."""
    with contextlib.closing(LoadedPython()) as python:
        yield python


_TEXT = (
    "The fox sat down. Łódź and naïve café 🦊 say: the end.",
    "A cat and a dog ran up the hill, then sat.",
)


@pytest.fixture(scope="session")
def sentencepiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model trained as LLMBuilder does by default, with bytes for unknown characters."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXT),
        model_writer=model,
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


@pytest.fixture(scope="session")
def byte_bpe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE ``tokenizer.json`` as GPT-2 has, with one special token, ``<|end|>``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    path = tmp_path_factory.mktemp("tokenizers") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def pytest_sessionfinish(session: pytest.Session) -> None:
    path: Path | None = session.config.option.prove
    if path is not None:
        results = {"tests": session.testscollected, "failed": session.testsfailed}
        path.write_text(json.dumps(results | session.config.stash[_RESULTS]) + "\n", encoding="utf-8")
