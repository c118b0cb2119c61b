"""What ONNX Runtime would print by itself when a run fails is in the error that it raises, and nowhere else."""

import numpy as np
import onnx_writer
import pytest
from test_model import FACTS

from llmbuilder.engine.model import Model
from llmbuilder.engine.session import open_session
from llmbuilder.errors import DeviceError


@pytest.fixture
def session(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_writer.tiny_model(onnx_writer.tiny_weights()))
    return open_session(path, built_for="cpu", device="cpu", threads=1)


def test_a_session_that_fails_prints_nothing(session, capfd):
    feeds = {
        each.name: np.zeros(
            [1 if isinstance(n, str) else n for n in each.shape],
            np.float32 if "float" in each.type else np.int64,
        )
        for each in session.get_inputs()
    }
    feeds["input_ids"] = np.full((1, 1), onnx_writer.VOCAB + 7, np.int64)
    with pytest.raises(Exception, match="out of"):  # its errors share no base class
        session.run(None, feeds)
    assert capfd.readouterr() == ("", "")


def test_a_decoder_that_fails_prints_nothing(session, capfd):
    decoder = Model(session, FACTS).decoder()
    with pytest.raises(DeviceError, match="ONNX Runtime could not compute"):
        decoder._run_chunk(0, [onnx_writer.VOCAB + 7], 1)  # which no caller is let pass
    assert capfd.readouterr() == ("", "")
