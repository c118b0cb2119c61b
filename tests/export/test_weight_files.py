"""Files of weights as anyone may have made them, looked at before a library reads them: none hangs, none bursts."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_huggingface_source import save_model

from llmbuilder.errors import ExportError
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.tokenizer import load_tokenizer_source

LAST = "model.layers.1.mlp.down_proj.weight"
HEAD = "lm_head.weight"


def test_weights_of_pytorchs_own_files_are_checked_alike(tmp_path):
    model = save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    weights = model.state_dict()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert load_source(tmp_path).network.facts.num_layers == 2
    torch.save({name: w for name, w in weights.items() if name != LAST}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ExportError, match=f"lacks weights of LlamaForCausalLM: {LAST}"):
        load_source(tmp_path)
    torch.save(weights | {LAST: weights[LAST].to(torch.int8)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ExportError, match=f"stores {LAST} as int8"):
        load_source(tmp_path)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "", "sub/1.safetensors", 7, None, ["x"]]
)
def test_an_index_that_names_files_elsewhere_is_refused(tmp_path, name):
    save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {HEAD: name}}))
    with pytest.raises(ExportError, match=r"index\.json names the file .*, which is not in"):
        load_source(tmp_path)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ExportError, match=r"index\.json (cannot be read as JSON|lists no files of weights)"):
        load_source(tmp_path)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "model.safetensors", "adapter_config.json"]
)
def test_a_pipe_among_the_files_is_refused_without_waiting_for_it(tmp_path, name):
    save_model(tmp_path, "llama")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ExportError, match=rf"{name} is not a plain file"):
        load_source(tmp_path)


def test_an_index_of_more_files_than_any_model_has_is_refused(tmp_path):
    save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    index = {"weight_map": {f"w{number}": f"{number}.safetensors" for number in range(10_001)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match=r"index\.json lists 10001 files of weights"):
        load_source(tmp_path)


@pytest.mark.parametrize("shard", ["1.safetensors", "1.bin"])
def test_a_pipe_among_the_shards_is_refused_without_waiting_for_it(tmp_path, shard):
    save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {HEAD: shard}}))
    os.mkfifo(tmp_path / shard)
    with pytest.raises(ExportError, match=rf"{shard} is not a plain file"):
        load_source(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_pipe_beside_a_tokenizer_is_refused_without_waiting_for_it(tmp_path, byte_bpe_file, name):
    shutil.copy(byte_bpe_file, tmp_path / "tokenizer.json")
    os.mkfifo(tmp_path / name)
    with pytest.raises(ExportError, match=rf"{name} is not a plain file"):
        load_tokenizer_source(tmp_path, tmp_path, 300)


def test_a_configuration_that_takes_the_weights_from_elsewhere_is_refused(tmp_path):
    """transformers would load that file, of which nothing was looked at."""
    save_model(tmp_path, "llama")
    change_config(tmp_path, transformers_weights="other.safetensors")
    os.mkfifo(tmp_path / "other.safetensors")
    with pytest.raises(ExportError, match=r"takes the weights from other\.safetensors\. Remove transf"):
        load_source(tmp_path)


def test_a_configuration_of_more_layers_than_weights_is_refused_before_they_are_made(tmp_path):
    save_model(tmp_path, "llama")
    change_config(tmp_path, num_hidden_layers=22)
    with pytest.raises(ExportError, match=r"says 22 layers, but only 21 weights are stored"):
        load_source(tmp_path)


def change_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", [torch.complex64, torch.float8_e4m3fn])
def test_weights_of_numbers_that_cannot_be_exported_are_refused_by_type(tmp_path, kind):
    save_model(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {LAST: weights[LAST].to(kind)}, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=f"stores {LAST} as (C64|F8_E4M3)"):
        load_source(tmp_path)


def test_a_file_that_names_more_weights_than_any_model_has_is_refused_unread(tmp_path):
    save_model(tmp_path, "llama")
    names = {
        f"w{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(300_000)
    }
    header = json.dumps(names).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ExportError, match=r"names its weights in [\d,]+ bytes, more than any model"):
        load_source(tmp_path)


def test_files_linked_as_the_hub_stores_them_are_read(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    save_model(tmp_path / "blobs", "llama")
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(f"../blobs/{path.name}")
    assert load_source(tmp_path / "snapshot").network.facts.num_layers == 2


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08" + bytes(7) + b"{}nothing"])
def test_a_damaged_weights_file_is_named(tmp_path, content):
    save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.safetensors is damaged|lacks weights"):
        load_source(tmp_path)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "llama",
            {"intermediate_size": 10**7},
            r"down_proj\.weight has shape \[32, 48\] instead of \[32, 10000000\]",
        ),
        (
            "llama",
            {"vocab_size": 10**7},
            r"embed_tokens\.weight has shape \[330, 32\] instead of \[10000000, 32\]",
        ),
        (
            "gpt2",
            {"n_positions": 10**6},
            r"it asks for [\d,]+ numbers, [\d,]+ are stored|wpe\.weight has shape",
        ),
    ],
)
def test_a_configuration_that_asks_for_much_memory_is_refused_before_any_is_taken(
    tmp_path, kind, options, message
):
    save_model(tmp_path, kind)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ExportError, match=f"config.json does not belong to the weights of .*{message}"):
        load_source(tmp_path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    )  # kibibytes; it asks for gigabytes
