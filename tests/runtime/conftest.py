"""Bundles on disk, without a model in them, and a cache directory for each test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbuilder.bundle.manifest import (
    GRAPH_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    FileEntry,
    LayerCache,
    Manifest,
    ModelFacts,
    SourceFacts,
    TokenizerFacts,
)
from llmbuilder.config import GenerationConfig
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule
from llmbuilder.userdata import file_sha256

TOKENIZER_NAME = "tokenizer.model"
IR_VERSION_8 = b"\x08\x08"  # the smallest graph that means anything: one field of ModelProto


@pytest.fixture
def random() -> TextGenerator:
    """A generator whose texts are drawn, three rows at once, and never end before their number of tokens."""
    return TextGenerator.from_engine(
        fake_engine(random_rule()), GenerationConfig(early_stopping=False, batch_size=3)
    )


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch) -> Path:
    """The user's cache directory, empty, instead of the real one."""
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("llmbuilder.userdata.platformdirs.user_cache_dir", lambda name: str(home / name))
    return home


def describe(
    directory: Path, *names: str, vocab_size: int = 320, source_sha256: str | None = None, **changes: Any
) -> Manifest:
    """A manifest of a tiny model with these files of ``directory``."""
    files = {
        n: FileEntry(size=(directory / n).stat().st_size, sha256=file_sha256(directory / n)) for n in names
    }
    manifest = Manifest(
        model=ModelFacts(
            architecture="gpt",
            vocab_size=vocab_size,
            context_length=64,
            hidden_size=16,
            num_attention_heads=4,
            parameters=5000,
            layers=(LayerCache(heads=2, key_size=4, value_size=4),) * 2,
        ),
        tokenizer=TokenizerFacts(
            kind="sentencepiece",
            file=TOKENIZER_NAME,
            vocab_size=320,
            bos_token_id=1,
            eos_token_ids=(2,),
            pad_token_id=None,
            golden=(("Hello", (3, 4)),),
        ),
        source=SourceFacts(kind="llmbuilder", name="model.pt", sha256=source_sha256),
        files=files,
        generation={"temperature": 0.7},
    )
    return replace(manifest, **changes)


@pytest.fixture
def make_bundle(tmp_path) -> Callable[..., Path]:
    """Write a bundle that passes every check of its files; returns its directory."""

    def make(directory: Path | None = None, *, tokenizer: bytes = b"pieces", **facts: Any) -> Path:
        directory = directory or tmp_path / "bundle"
        directory.mkdir(parents=True)
        contents = {GRAPH_NAME: IR_VERSION_8, WEIGHTS_NAME: bytes(100), TOKENIZER_NAME: tokenizer}
        for name, content in contents.items():
            (directory / name).write_bytes(content)
        manifest = describe(directory, *contents, **facts)
        (directory / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        return directory

    return make


@pytest.fixture
def manifest(make_bundle) -> Manifest:
    """A valid manifest."""
    return describe(make_bundle(), GRAPH_NAME, WEIGHTS_NAME, TOKENIZER_NAME)
