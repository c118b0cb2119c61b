"""Tiny networks at the least cost: PyTorch runs them in one thread, and equal ones are traced once in a test run.

A second thread would wait for the first at every operator, and the tracer, which takes seconds, gives the same graph
every time.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from llmbuilder_export import pipeline
from llmbuilder_export.trace import trace


def digest(network: torch.nn.Module) -> str:
    """What a network computes with: classes, settings and weights of its modules."""
    content = hashlib.sha256()
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        content.update(repr((name, type(module), settings)).encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


@contextmanager
def tracing_once() -> Iterator[None]:
    """Every export gets a graph of its own, whose weights are those of the first network that was equal."""
    known = {}

    def remembered(network):
        key = digest(network)
        if key not in known:
            known[key] = trace(network)
        return known[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "trace", remembered)
        yield


@pytest.fixture(scope="session", autouse=True)
def traced_once() -> Iterator[None]:
    """Equal networks are traced once in a process of the test run, and computed in one thread."""
    torch.set_num_threads(1)
    with tracing_once():
        yield
