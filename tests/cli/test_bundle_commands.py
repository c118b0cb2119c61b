"""``llmb info``, ``llmb verify``, ``llmb export``: what they pass on and what they print."""

import importlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
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
from llmbuilder.engine.cuda.card import Card
from llmbuilder.errors import DeviceError, ExportError

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"

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
    monkeypatch.setattr("llmbuilder.bundle.resolve.find_bundle", lambda path, _: path)
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


def values(result):
    """Lines of ``llmb info`` as name and value."""
    return dict(line.split("  ", 1) for line in re.sub("  +", "  ", result.stdout).splitlines())


def test_info_says_what_a_bundle_for_cpus_runs_on_here(llmb, bundle, monkeypatch):
    monkeypatch.setattr("llmbuilder.engine.installation.runtime_name", lambda: "onnxruntime 1.32.0")
    monkeypatch.setattr("llmbuilder.engine.machine.processor_name", lambda: "Some Processor")
    monkeypatch.setattr("llmbuilder.engine.threads.available_threads", lambda: 1)
    found = values(llmb("info", bundle))
    assert found["here"] == "CPUExecutionProvider of onnxruntime 1.32.0"
    assert found["processor"] == "Some Processor, 1 thread"


def test_info_needs_no_runtime_and_says_what_is_wrong_with_it(llmb, bundle, monkeypatch):
    def missing():
        raise DeviceError("ONNX Runtime is not installed. Install it.")

    monkeypatch.setattr("llmbuilder.engine.installation.runtime_name", missing)
    result = llmb("info", bundle)
    assert result.exit_code == 0
    assert values(result)["here"] == "does not run: ONNX Runtime is not installed. Install it."
    assert "processor" not in values(result)


@pytest.fixture
def cuda(bundle, monkeypatch):
    """The bundle is one for CUDA, on a machine with a card; returns what may be in the way there."""
    machine = SimpleNamespace(
        reason=None, card=Card("NVIDIA A", 80_000_000_000, 79_100_000_000, "580.95.05", "13.0")
    )

    def card(index):
        if machine.card is None:
            raise DeviceError("There is no NVIDIA driver here.")
        return machine.card

    manifest = replace(MANIFEST, device="cuda", kv_cache="float16")
    monkeypatch.setattr(
        "llmbuilder.bundle.opening.open_bundle", lambda directory: Bundle(directory, manifest)
    )
    monkeypatch.setattr("llmbuilder.engine.installation.runtime_name", lambda: "onnxruntime-gpu 1.31.1")
    monkeypatch.setattr("llmbuilder.engine.cuda.starting.why_not", lambda index: machine.reason)
    monkeypatch.setattr("llmbuilder.engine.cuda.card.card", card)
    return machine


def test_info_says_what_a_bundle_for_cuda_runs_on_here(llmb, bundle, cuda):
    found = values(llmb("info", bundle))
    assert found["here"] == "CUDAExecutionProvider of onnxruntime-gpu 1.31.1, steps replayed as CUDA graphs"
    assert found["card"] == "NVIDIA A, 79.1 of 80.0 GB free"
    assert found["driver"] == "580.95.05, for CUDA up to 13.0"


def test_info_says_why_a_bundle_for_cuda_does_not_run_here(llmb, bundle, cuda):
    cuda.reason = "CUDA libraries are missing: libcublas.so.13."
    found = values(llmb("info", bundle))
    assert found["here"] == "does not run: CUDA libraries are missing: libcublas.so.13."
    assert found["card"].startswith("NVIDIA A")
    cuda.reason, cuda.card = "There is no NVIDIA driver here.", None
    found = values(llmb("info", bundle))
    assert found["here"] == "does not run: There is no NVIDIA driver here."
    assert "card" not in found


def test_info_loads_nothing_slow():
    program = (
        "import sys\n"
        "from llmbuilder_cli.main import app\n"
        f"app(['info', {str(DEMO)!r}], standalone_mode=False)\n"
        "sys.exit(', '.join({'numpy', 'onnxruntime', 'rich'} & set(sys.modules)) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert "CPUExecutionProvider" in result.stdout


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
def exported(monkeypatch, tmp_path):
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

    importlib.import_module("llmbuilder_export.bar")  # of which the command takes the real one
    module = ModuleType("llmbuilder_export")
    module.export_model = export_model
    monkeypatch.setitem(sys.modules, "llmbuilder_export", module)
    monkeypatch.setattr("llmbuilder.bundle.exporter.can_export", lambda: True)
    monkeypatch.chdir(tmp_path)
    for name in ("model.pt", "tokenizer", "tok", "lora", "c.json"):
        Path(name).touch()
    return calls


def test_export_prints_the_path_on_stdout_and_the_report_on_stderr(llmb, exported):
    result = llmb("export", "model.pt", "-t", "tokenizer")
    assert result.stdout == f"{Path('out/bundle')}\n"
    assert result.stderr.splitlines() == [
        "loading PyTorch ...",
        "4.0 MB of float32 weights became 1.5 MB in 2.0 s",
        "max logit difference: 0.0123",
        f"Next: llmb generate {Path('out/bundle')} -p 'Once upon a time'",
    ]


@pytest.mark.parametrize(
    "arguments", [("gone",), ("model.pt", "-t", "gone"), ("model.pt", "--config", "gone")]
)
def test_export_tells_what_is_missing_before_pytorch_is_loaded(llmb, exported, arguments):
    result = llmb("export", *arguments)
    assert isinstance(result.exception, FileNotFoundError)
    assert "nothing at gone" in str(result.exception)
    assert result.stderr == ""
    assert exported == []


def test_export_passes_every_option_on(llmb, exported):
    options = ("--quantize", "int4", "--kv-cache", "int8", "--device", "cuda", "--max-context", "256")
    llmb(
        "export",
        "--adapter",
        "lora",
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
    ((source, given),) = exported
    assert [(source, {k: v for k, v in given.items() if k not in ("progress", "advance")})] == [
        (
            Path("model.pt"),
            {
                "tokenizer": Path("tok"),
                "output": Path("out"),
                "quantization": "int4",
                "kv_cache": "int8",
                "device": "cuda",
                "adapter": Path("lora"),
                "max_context": 256,
                "config": Path("c.json"),
                "verify": False,
                "overwrite": True,
            },
        )
    ]


def test_export_says_what_its_choices_cost(llmb):
    shown = " ".join(llmb("export", "--help").stdout.split())
    assert (
        "takes a quarter of the memory and is faster at contexts of thousands of tokens; it rounds more."
        in shown
    )
    assert "for cuda if not given, where fewer bits save memory, not time." in shown


def test_export_without_torch_says_what_to_install(llmb, monkeypatch, tmp_path):
    monkeypatch.setattr("llmbuilder.bundle.exporter.can_export", lambda: False)
    monkeypatch.setattr("llmbuilder.bundle.exporter.exporter", lambda: None)
    (tmp_path / "model.pt").touch()
    result = llmb("export", tmp_path / "model.pt")
    assert result.exit_code == 1
    assert isinstance(result.exception, ExportError)
    assert "Run: llmb exporter install" in str(result.exception)
