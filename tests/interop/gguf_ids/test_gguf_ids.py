"""Ids of tokenizers that are rebuilt from GGUF files are llama.cpp's own.

Every run compares SmolLM2's file with what llama.cpp gave (``expected.json``, written by the proof); the proof builds
llama.cpp as ``benchmarks/peers`` does and asks it, for trained vocabularies and those that lie beside its sources too.
"""

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from gguf_texts import PLAIN, texts
from gguf_vocabularies import every_kind, write

from llmbuilder.errors import ExportError
from llmbuilder.tokenizer import load_tokenizer
from llmbuilder_export.sources.gguf_tokenizers import tokenizer_of
from llmbuilder_export.sources.ggufs import read_gguf

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
PASSAGES = HERE.parents[2] / "benchmarks" / "data" / "passages.jsonl.gz"
NORMAL = 1


@pytest.fixture
def smollm2_file(smollm2_source):
    (file,) = smollm2_source.parent.glob("*.gguf")
    return file


@pytest.fixture
def ours(tmp_path):
    """The ids of texts by a file's tokenizer, as a bundle has it."""

    def encode(file):
        path = tmp_path / "tokenizer.json"
        tokenizer_of(read_gguf(file)).save(str(path))
        tokenizer = load_tokenizer(path)
        return [tokenizer.encode(text) for text in texts()]

    return encode


def digest(ids):
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:8]


def test_a_real_file_has_the_ids_that_llama_cpp_gave(smollm2_file, ours):
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))["smollm2"]
    assert len(set(texts())) >= 200
    differ = [
        text
        for text, ids, right in zip(texts(), ours(smollm2_file), expected, strict=True)
        if digest(ids) != right
    ]
    assert not differ


@pytest.fixture
def llamacpp():
    """llama.cpp's release and its ids of the texts by each file; built where it is not there."""
    from peers import llama

    python = llama.install()

    def encode(files):
        asked = json.dumps({"files": [str(file) for file in files], "texts": texts()})
        done = subprocess.run(
            [str(python), str(HERE / "gguf_by_llamacpp.py")],
            input=asked, env={**os.environ, **llama.variables()}, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        return answer["release"], [answer["ids"][str(file)] for file in files]

    return encode


def beside_sources():
    """Vocabularies of real models that lie beside llama.cpp's sources, those that are not refused."""
    from peers.llama import SOURCES

    for path in sorted((SOURCES / "vendor" / "llama.cpp" / "models").glob("ggml-vocab-*.gguf")):
        try:
            tokenizer_of(read_gguf(path))
        except ExportError:
            continue
        yield path.stem.removeprefix("ggml-vocab-"), path


def names_taken_for_control(file):
    """What llama.cpp takes for control tokens by their names, where the file says that they are none."""
    facts = read_gguf(file).facts
    kinds = facts["tokenizer.ggml.token_type"].tolist()
    known = {"</s>", "<|endoftext|>", "<|im_end|>", "<|end|>", "<|eot_id|>", "<end_of_turn>", "<eos>"}
    return [
        t
        for t, kind in zip(facts["tokenizer.ggml.tokens"], kinds, strict=True)
        if kind == NORMAL and t in known
    ]


@pytest.mark.prove
def test_ids_are_those_of_llama_cpp(smollm2_file, llamacpp, ours, tmp_path, record_proof):
    with gzip.open(PASSAGES, "rt") as passages:
        sentences = [sentence for line in passages for sentence in json.loads(line)["sentences"]]
    lines = [*sentences[:3000], *(text for text in PLAIN if text and "\0" not in text)]
    files = {"smollm2": smollm2_file} | dict(beside_sources())
    assert {"gpt-2", "llama-bpe", "llama-spm", "qwen2"} <= files.keys()
    for name, add in every_kind(lines).items():
        files[name] = write(tmp_path / f"{name}.gguf", add)
    release, theirs = llamacpp(files.values())
    for (name, file), right in zip(files.items(), theirs, strict=True):
        taken = names_taken_for_control(file)
        pairs = [
            (text, mine, other)
            for text, mine, other in zip(texts(), ours(file), right, strict=True)
            if not any(control in text for control in taken)
        ]
        assert [text for text, mine, other in pairs if mine != other] == [], name
        assert len(pairs) >= 200
        record_proof(name, texts=len(pairs), ids=sum(len(mine) for _, mine, _ in pairs))
    expected = {"release": release, "smollm2": [digest(ids) for ids in theirs[0]]}
    if not EXPECTED.exists():
        EXPECTED.write_text(json.dumps(expected, indent=0) + "\n")
    assert json.loads(EXPECTED.read_text(encoding="utf-8")) == expected
    record_proof("llama.cpp", release=release)
