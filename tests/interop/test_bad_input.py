"""Real bundles, damaged or misused: one clear error from the public functions and from the program."""

import hashlib
import json
import shutil
import subprocess
import sys

import onnx
import pytest
from upstream_cases import SAMPLE

import llmbuilder as lb
from llmbuilder.bundle.manifest import digest
from llmbuilder.errors import BundleError, ConfigError, ContextOverflowError, DeviceError, ModelNotFoundError

CASE = SAMPLE[0]


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(exported(CASE), tmp_path / "bundle")


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit_manifest(bundle, edit):
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    manifest["digest"] = digest(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def changed_weights(bundle):
    change_a_byte(bundle / "model.onnx.data")
    return r"model\.onnx\.data was changed"


def changed_graph(bundle):
    change_a_byte(bundle / "model.onnx")
    return r"model\.onnx was changed"


def changed_tokenizer(bundle):
    change_a_byte(bundle / "tokenizer.model")
    return r"tokenizer\.model was changed"


def missing_weights(bundle):
    (bundle / "model.onnx.data").unlink()
    return r"lacks model\.onnx\.data"


def weights_behind_a_symbolic_link(bundle):
    weights = bundle / "model.onnx.data"
    weights.rename(bundle.parent / "elsewhere")
    weights.symlink_to(bundle.parent / "elsewhere")
    return "is a link to .*opy"


def weights_outside_of_the_bundle(bundle):
    """Hashes and sizes are right: only a look into the graph can tell."""
    shutil.copy(bundle / "model.onnx.data", bundle.parent / "elsewhere")
    graph = bundle / "model.onnx"
    model = onnx.load(graph, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../elsewhere"
    graph.write_bytes(model.SerializeToString())
    content = graph.read_bytes()
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(bundle, lambda manifest: manifest["files"].update({"model.onnx": entry}))
    return r"\.\./elsewhere"


def manifest_of_a_newer_release(bundle):
    edit_manifest(bundle, lambda manifest: manifest.update(version=3))
    return "Upgrade llmbuilder-runtime"


DAMAGES = [
    changed_weights,
    changed_graph,
    changed_tokenizer,
    missing_weights,
    weights_behind_a_symbolic_link,
    weights_outside_of_the_bundle,
    manifest_of_a_newer_release,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_bundle_is_refused(bundle, damage):
    message = damage(bundle)
    with pytest.raises(BundleError, match=message):
        lb.generate_text(bundle, prompt="bado")


def test_an_intact_copy_is_not_refused(bundle):
    assert isinstance(lb.generate_text(bundle, prompt="bado", max_new_tokens=4, seed=1), str)


def test_a_path_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"missing"):
        lb.generate_text(tmp_path / "missing", prompt="bado")


def test_a_directory_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"not a bundle"):
        lb.generate_text(tmp_path, prompt="bado")


@pytest.mark.parametrize("token", [-1, CASE.vocab_size])
def test_token_ids_outside_the_vocabulary_are_refused(bundle, token):
    with (
        lb.TextGenerator(bundle) as generator,
        pytest.raises(ConfigError, match=rf"id {token} at position 1"),
    ):
        generator.complete([3, token])


def test_an_empty_prompt_needs_a_first_token(bundle):
    edit_manifest(bundle, lambda manifest: manifest["tokenizer"].update(bos_token_id=None))
    with pytest.raises(ConfigError, match="no BOS token"):
        lb.generate_text(bundle, prompt="")


def test_a_prompt_longer_than_the_window_is_refused_or_cut(bundle):
    ids = [5] * (CASE.window + 3)
    with lb.TextGenerator(bundle) as generator:
        with pytest.raises(ContextOverflowError, match=rf"{len(ids)} tokens.*holds {CASE.window}"):
            generator.complete(ids)
        (cut,) = generator.complete(ids, truncate_prompt=True, do_sample=False)
        (short,) = generator.complete(ids[3:], do_sample=False)
    assert cut.token_ids == short.token_ids
    assert cut.truncated_tokens == 3


def test_a_bundle_for_the_cpu_is_never_run_elsewhere(bundle):
    with pytest.raises(DeviceError, match="exported for cpu"):
        lb.generate_text(bundle, prompt="bado", device="cuda")


def test_a_bundle_for_cuda_never_falls_back_to_the_cpu(bundle, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    edit_manifest(bundle, lambda manifest: manifest.update(device="cuda", kv_cache="float16"))
    with pytest.raises(DeviceError, match="no CUDA support"):
        lb.generate_text(bundle, prompt="bado")


@pytest.mark.parametrize("damage", [changed_weights, missing_weights], ids=lambda damage: damage.__name__)
def test_the_program_says_it_in_one_line(bundle, damage):
    damage(bundle)
    program = [sys.executable, "-c", "from llmbuilder_cli.main import main; main()"]
    arguments = ["generate", "text", "--model", str(bundle), "--prompt", "bado"]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "model.onnx.data" in done.stderr
