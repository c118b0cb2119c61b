"""Files and directories that are something else than a model to export: they are told what they are."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import load_source

LORA = Path(__file__).with_name("lora")


def refused(path, message):
    with pytest.raises(ExportError, match=message) as error:
        load_source(path)
    assert "damaged" not in str(error.value)


def test_a_bundle_is_said_to_be_one(report):
    refused(report.path, "is a bundle already. Use it as the model")
    refused(report.path / "model.onnx", f"a file of a bundle, .* Use {report.path} as the model")


def test_an_onnx_model_is_said_to_be_one(tmp_path):
    (tmp_path / "decoder.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    refused(
        tmp_path / "decoder.onnx",
        "is an ONNX model, whose weights cannot be exported again. Export the model",
    )


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model_q4.onnx"])
def test_a_directory_for_transformers_js_is_said_to_be_one(tmp_path, place):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(b"")
    refused(tmp_path, rf"holds an ONNX model \({place}\), as for transformers\.js, and no weights")


def test_a_torchscript_archive_is_said_to_be_one(tmp_path):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "model.pt")
    refused(tmp_path / "model.pt", "is a TorchScript archive, which holds code")


def test_weights_alone_are_said_to_be_such(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    refused(
        tmp_path / "model.safetensors", f"is a safetensors file, .* Pass the model's directory: {tmp_path}"
    )
    shutil.copytree(LORA / "plain", tmp_path / "lora")
    refused(
        tmp_path / "lora" / "adapter_model.safetensors",
        f"is of a LoRA adapter for somebody/llama; give its base: llmb export BASE --adapter {tmp_path}/lora",
    )


def test_a_configuration_alone_is_said_to_be_one(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    refused(tmp_path / "config.json", f"is a JSON file. Pass the model's directory: {tmp_path}")


def test_a_directory_of_gguf_files_is_told_to_name_one(tmp_path):
    for name in ("b.Q8_0.gguf", "a.Q4_0.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    refused(tmp_path, f"holds GGUF files. Pass the one to export: llmb export {tmp_path}/a.Q4_0.gguf")
