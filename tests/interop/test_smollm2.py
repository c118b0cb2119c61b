"""SmolLM2-135M-Instruct, a real model through the Hugging Face path."""

import json
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from llmbuilder import TextGenerator
from llmbuilder.bundle.manifest import GRAPH_NAME

MB = 1_000_000
FIXTURE = json.loads(Path(__file__).with_name("smollm2_greedy.json").read_text(encoding="utf-8"))
SAMPLE = (0, 7, 15)

QUANTIZATIONS = ["int8", *(pytest.param(each, marks=pytest.mark.prove) for each in ("none", "int4"))]
"""What a process exports first; as a proof each has a process of its own."""


@pytest.fixture(scope="module")
def generator(smollm2):
    with TextGenerator(smollm2("none").bundle) as generator:
        yield generator


def test_prompts_have_the_token_ids_of_transformers(generator):
    for continuation in FIXTURE["continuations"]:
        assert generator.tokenizer.encode(continuation["prompt"]) == continuation["prompt_ids"]


@pytest.mark.parametrize(
    "continuation",
    [
        pytest.param(continuation, marks=() if index in SAMPLE else pytest.mark.prove)
        for index, continuation in enumerate(FIXTURE["continuations"])
    ],
    ids=lambda continuation: repr(continuation["prompt"][:20]),
)
def test_greedy_continuations_are_those_of_transformers(generator, continuation, record_proof):
    (completion,) = generator.complete(
        continuation["prompt"], do_sample=False, max_new_tokens=FIXTURE["new_tokens"]
    )
    record_proof(f"greedy {continuation['prompt']!r}", equal_tokens=len(completion.token_ids))
    assert list(completion.token_ids) == continuation["new_ids"]


GENERATE = """
import json, sys
from pathlib import Path
from llmbuilder import TextGenerator
with TextGenerator(sys.argv[1]) as generator:
    text = generator.generate("The capital of France is", max_new_tokens=8, do_sample=False)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"text": text, "modules": list(sys.modules), "resident": int(status["VmRSS"].split()[0]) * 1024}))
"""


@pytest.fixture(scope="module")
def process(smollm2):
    """What a fresh process looks like after a short generation with the int8 bundle."""
    command = [sys.executable, "-c", GENERATE, str(smollm2("int8").bundle)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_generating_loads_no_library_that_only_export_needs(process):
    assert "Paris" in process["text"]
    assert {"torch", "transformers", "onnx", "scipy"} & set(process["modules"]) == set()


def test_a_loaded_model_takes_little_more_memory_than_its_files(process, smollm2, record_proof):
    size = sum(path.stat().st_size for path in smollm2("int8").bundle.iterdir())
    record_proof("memory of loaded SmolLM2 int8", resident=process["resident"], bundle=size)
    assert process["resident"] < 1.6 * size + 100 * MB


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_export_needs_little_more_memory_than_the_weights(
    quantization, smollm2, smollm2_source, record_proof
):
    weights = (smollm2_source / "model.safetensors").stat().st_size
    exported = smollm2(quantization)
    moments = moments_bytes(exported.bundle) if quantization == "int4" else 0
    record_proof(
        f"peak memory of exporting SmolLM2, {quantization}",
        peak=exported.peak_memory,
        float32_weights=weights,
        moments=moments,
    )
    assert exported.peak_memory < 600 * MB + 2.5 * weights + moments


def moments_bytes(bundle):
    """What is kept of a text to make up for errors of rounding: products of each two inputs, for every product."""
    products = [node for node in ir.load(bundle / GRAPH_NAME).graph if node.op_type == "MatMulNBits"]
    sizes = {node.inputs[0]: node.attributes.get_int("K") for node in products}
    return sum(4 * size**2 for size in sizes.values())
