"""A row equals the row alone, whatever the number of threads, also where a model has fewer heads than threads.

ONNX Runtime splits the keys of a row among threads that have nothing else to do, and then adds in another order.
"""

import shutil

import numpy as np
import pytest
import torch
from small_models import gpt_state, model_config

from llmbuilder.engine.loading import load_engine
from llmbuilder_export import export_model

WINDOW, WIDTH = 4096, 64
THREADS = 16
SPREAD = {"float32": 1, "int8": 40}
CASES = [
    (1, "float32"),
    (2, "int8"),
    pytest.param((2, "float32"), marks=pytest.mark.prove),
    pytest.param((1, "int8"), marks=pytest.mark.prove),
]
"""Heads, and type of the cache."""
SHORT_AND_LONG = (3, 700, 3900, 3500, 3500, 90, 2600)


@pytest.fixture(scope="module", params=CASES, ids=str)
def model(request, tmp_path_factory, sentencepiece_file):
    """A loaded model of one layer with one head, or two, asked for 16 threads."""
    heads, kv_cache = request.param
    folder = tmp_path_factory.mktemp("few-heads")
    shutil.copy(sentencepiece_file, folder / "tokenizer.model")
    state = gpt_state(width=WIDTH, layers=1, window=WINDOW)
    shape = {"embedding_dim": WIDTH, "num_layers": 1, "num_heads": heads, "max_seq_length": WINDOW}
    torch.save(
        {
            "model_state_dict": {name: each for name, each in state.items() if "causal_mask" not in name},
            "model_config": model_config(**shape),
            "model_type": "gpt",
        },
        folder / "model.pt",
    )
    export_model(
        folder / "model.pt",
        output=folder / "bundle",
        quantization="none",
        kv_cache=kv_cache,
        verify=False,
        progress=lambda _: None,
    )
    return load_engine(folder / "bundle", threads=THREADS).model


@pytest.fixture
def rows(model):
    """Make a decoder whose rows hold random keys and values of these numbers of tokens."""
    kept = {}

    def make(lengths):
        decoder = model.decoder(rows=len(lengths), capacity=WINDOW)
        for row, (number, length) in enumerate(lengths):
            if number not in kept:
                random = np.random.default_rng(number)
                kept[number] = [
                    (SPREAD[tensor.dtype.name] * random.standard_normal((tensor.heads, length, tensor.size)))
                    .clip(-127, 127)
                    .astype(tensor.dtype)
                    for tensor in model.layout
                ]
            decoder.load(row, kept[number], length)
        return decoder

    return make


@pytest.mark.parametrize("count", [2, 7, 33])
def test_rows_of_thousands_of_tokens_equal_the_row_alone_with_sixteen_threads(rows, count):
    lengths = [SHORT_AND_LONG[row % len(SHORT_AND_LONG)] for row in range(count)]
    check_rows(rows, list(enumerate(lengths)))


def test_rows_of_one_length_equal_the_row_alone_with_sixteen_threads(rows):
    check_rows(rows, [(row, 3500) for row in range(8)])


def check_rows(rows, numbered):
    together = np.array(rows(numbered).step([5] * len(numbered)))
    different = [
        row
        for row, each in enumerate(numbered)
        if not np.array_equal(rows([each]).step([5])[0], together[row])
    ]
    assert different == []
