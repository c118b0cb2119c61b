"""Files that are no whole LLMBuilder checkpoint, or more than one: refused in our words, and nothing in them runs."""

import pickle

import pytest
import torch
from small_models import gpt_state, model_config

from llmbuilder.errors import ExportError, ModelNotFoundError
from llmbuilder_export.sources import load_source


class Bomb:
    """Runs a function when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_pickle_bomb_is_refused_and_does_not_go_off(saved, tmp_path):
    target = tmp_path / "boom"
    with pytest.raises(ExportError, match="could run code"):
        load_source(saved({"model_state_dict": gpt_state(), "extra": Bomb(target)}))
    assert not target.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bomb_that_torch_did_not_write_is_refused_too(tmp_path, recwarn, protocol):
    target, path = tmp_path / "boom", tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"model_state_dict": Bomb(target)}, protocol=protocol))
    reason = "could run code" if protocol >= 2 else "not a PyTorch checkpoint"
    with pytest.raises(ExportError, match=reason) as error:
        load_source(path)
    assert "weights_only" not in str(error.value)
    assert list(recwarn) == []
    assert not target.exists()


def test_a_truncated_checkpoint_is_refused(saved):
    path = saved({"model_state_dict": gpt_state(), "model_config": model_config()})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ExportError, match="damaged or not a PyTorch checkpoint"):
        load_source(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"not a checkpoint", b"checkpoint", b"e = 5", b"{}", b"PK\x03\x04 nor a zip"),
        *(bytes(4096), b"\x08\x08\x12\x07pytorch", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_our_own_words(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ExportError) as error:
        load_source(path)
    assert str(error.value).startswith(f"{path} is damaged or not a PyTorch checkpoint. Pass the file")


@pytest.mark.parametrize(
    "content",
    [
        *(torch.ones(3), [1, 2], {"a": 1}, {0: torch.ones(3, 3)}),
        {"model_state_dict": {"conv.weight": torch.ones(2)}},
    ],
)
def test_a_checkpoint_of_something_else_is_refused(saved, content):
    with pytest.raises(ExportError, match=r"model\.pt"):
        load_source(saved(content))


def test_nothing_there_is_said_so(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no model at"):
        load_source(tmp_path / "model.pt")
    with pytest.raises(ExportError, match=r"no config\.json"):
        load_source(tmp_path)
