"""``llmb info``, ``llmb verify``, ``llmb export``: what they pass on and what they print."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from llmbuilder.bundle.manifest import (
    FileEntry,
    LayerCache,
    Manifest,
    ModelFacts,
    SourceFacts,
    TokenizerFacts,
)
from llmbuilder.bundle.opening import Bundle
from llmbuilder.errors import ExportError

MANIFEST = Manifest(
    model=ModelFacts(
        architecture="GPT",
        vocab_size=4096,
        context_length=512,
        hidden_size=256,
        num_attention_heads=8,
        parameters=3_500_000,
        layers=(LayerCache(heads=8, key_size=32, value_size=32),) * 6,
    ),
    tokenizer=TokenizerFacts(
        kind="sentencepiece",
        file="tokenizer.model",
        vocab_size=4000,
        bos_token_id=1,
        eos_token_ids=(2,),
        pad_token_id=0,
    ),
    source=SourceFacts(kind="llmbuilder", name="model.pt", sha256="0" * 64),
    files={"model.onnx": FileEntry(size=2_000_000, sha256="0" * 64)},
    quantization="int8",
    generation={"temperature": 0.7},
    verification={"max_logit_difference": 0.012345},
)


@pytest.fixture
def bundle(monkeypatch, tmp_path):
    """A directory that opens as a bundle with MANIFEST."""
    monkeypatch.setattr(
        "llmbuilder.bundle.opening.open_bundle", lambda directory: Bundle(directory, MANIFEST)
    )
    return tmp_path


def test_info_shows_what_the_bundle_is(llmb, bundle):
    lines = llmb("info", bundle).stdout.splitlines()
    for name, value in [
        ("source", "model.pt (llmbuilder)"),
        ("size", "2.0 MB"),
        ("quantization", "int8"),
        ("parameters", "3,500,000"),
        ("window", "512 tokens"),
        ("default temperature", "0.7"),
        ("verified max logit difference", "0.0123"),
    ]:
        assert [line.removeprefix(name).strip() for line in lines if line.startswith(name)] == [value]


def test_info_json_is_the_manifest(llmb, bundle):
    assert json.loads(llmb("info", bundle, "--json").stdout) == json.loads(MANIFEST.to_json())


@dataclass
class Verified:
    """Stands in for the runtime's report."""

    checks: tuple[SimpleNamespace, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


@pytest.mark.parametrize(("passed", "word", "code"), [(True, "ok", 0), (False, "FAIL", 1)])
def test_verify_prints_each_check_and_fails_if_one_does(llmb, monkeypatch, passed, word, code):
    checks = (
        SimpleNamespace(name="files", passed=True, detail="4 files"),
        SimpleNamespace(name="batches", passed=passed, detail="rows 1 to 8"),
    )
    module = ModuleType("llmbuilder.verify")
    module.verify_bundle = lambda path, *, device, threads: Verified(checks)
    monkeypatch.setitem(sys.modules, "llmbuilder.verify", module)
    result = llmb("verify", "bundle")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ok", word]
    assert result.exit_code == code


@pytest.fixture
def exported(monkeypatch):
    """An exporter that records what it is asked for."""
    calls = []

    def export_model(source: Path, **options: object) -> SimpleNamespace:
        calls.append((source, options))
        return SimpleNamespace(
            path=Path("out/bundle"),
            weights_bytes=4_000_000,
            bundle_bytes=1_500_000,
            seconds={"trace": 1.5, "verify": 0.5},
            manifest=MANIFEST,
        )

    module = ModuleType("llmbuilder_export")
    module.export_model = export_model
    monkeypatch.setitem(sys.modules, "llmbuilder_export", module)
    monkeypatch.setattr("llmbuilder.bundle.resolve.can_export", lambda: True)
    return calls


def test_export_prints_the_path_on_stdout_and_the_report_on_stderr(llmb, exported):
    result = llmb("export", "model.pt", "-t", "tokenizer")
    assert result.stdout == f"{Path('out/bundle')}\n"
    assert result.stderr.splitlines() == [
        "4.0 MB of float32 weights became 1.5 MB in 2.0 s",
        "max logit difference: 0.0123",
    ]


def test_export_passes_every_option_on(llmb, exported):
    options = ("--quantize", "int4", "--kv-cache", "int8", "--device", "cuda", "--max-context", "256")
    llmb(
        "export",
        "model.pt",
        "-t",
        "tok",
        "-o",
        "out",
        "--config",
        "c.json",
        "--no-verify",
        "--overwrite",
        *options,
    )
    assert exported == [
        (
            Path("model.pt"),
            {
                "tokenizer": Path("tok"),
                "output": Path("out"),
                "quantization": "int4",
                "kv_cache": "int8",
                "device": "cuda",
                "max_context": 256,
                "config": Path("c.json"),
                "verify": False,
                "overwrite": True,
            },
        )
    ]


def test_export_says_which_choices_are_not_there_yet(llmb):
    shown = " ".join(llmb("export", "--help").stdout.split())
    assert "KV cache; this release: float32 only, which is float16 for cuda." in shown
    assert "for cuda if not given, where fewer bits save memory, not time." in shown


def test_export_without_torch_says_what_to_install(llmb, monkeypatch):
    monkeypatch.setattr("llmbuilder.bundle.resolve.can_export", lambda: False)
    result = llmb("export", "model.pt")
    assert result.exit_code == 1
    assert isinstance(result.exception, ExportError)
    assert 'pip install "llmbuilder-runtime[export,cpu]"' in str(result.exception)
