"""GGUF files: tiny models written by llama.cpp's writer, whole through export, and what is refused."""

import json
import os
import re
import struct

import numpy as np
import onnx
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize
from gguf_files import KINDS, TEMPLATE, byte_vocabulary, sentencepiece_vocabulary, write_gguf
from sentencepiece import SentencePieceProcessor
from test_huggingface_source import VOCABULARY, WINDOW, save_model
from tokenizers import Tokenizer

from llmbuilder.engine.model import Model
from llmbuilder.errors import ExportError
from llmbuilder_export import export_model
from llmbuilder_export.sources import load_source
from llmbuilder_export.sources.gguf_tokenizers import tokenizer_of
from llmbuilder_export.sources.ggufs import read_gguf

IDS = torch.tensor([np.random.default_rng(1).integers(0, VOCABULARY, 40).tolist()])
TEXTS = [
    "The fox sat down. Łódź and naïve café 🦊 say: the end.",
    "  Two spaces, 12345 and 3.14!\nA new line\tand a tab.   ",
    "I'll say: DON'T (ever) 你好, мир\r\n\r\n x=1;",
    " ",
    "",
    "a",
]


@pytest.fixture(scope="session")
def byte_bpe(byte_bpe_file):
    return json.loads(byte_bpe_file.read_text())


@pytest.fixture
def write(tmp_path, byte_bpe):
    """Write a tiny model of ``kind``; returns the file and the model."""

    def make(kind="llama", vocabulary=None, options=None, **changes):
        model = save_model(tmp_path / "hf", kind, **KINDS[kind], **(options or {}))
        path = tmp_path / "tiny.gguf"
        return write_gguf(path, model, vocabulary or byte_vocabulary(byte_bpe), **changes), model

    return make


def refused(path, message):
    with pytest.raises(ExportError, match=message):
        load_source(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_computes_what_the_model_does_that_it_was_made_of(write, kind):
    path, model = write(kind)
    source = load_source(path)
    with torch.no_grad():
        expected = model(IDS).logits
    torch.testing.assert_close(source.network.reference(IDS), expected, atol=2e-5, rtol=1e-4)
    assert (source.facts.kind, source.facts.name) == ("gguf", "tiny.gguf")


def test_a_file_becomes_a_bundle_with_its_tokenizer_and_template(write, byte_bpe_file):
    eight_bits = GGMLQuantizationType.Q8_0
    path, model = write(form=eight_bits, options={"intermediate_size": 64})
    report = export_model(path, quantization="none", progress=lambda _: None)
    assert report.path == path.with_name("tiny-onnx")
    assert (report.path / "chat_template.jinja").read_text() == TEMPLATE
    words = Tokenizer.from_file(str(report.path / "tokenizer.json"))
    expected = Tokenizer.from_file(str(byte_bpe_file))
    assert [words.encode(text).ids for text in TEXTS] == [expected.encode(text).ids for text in TEXTS]
    facts = report.manifest.tokenizer
    assert (facts.bos_token_id, facts.eos_token_ids, report.manifest.source.kind) == (0, (0,), "gguf")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                rounded = dequantize(quantize(weight.numpy(), eight_bits), eight_bits)
                weight.copy_(torch.from_numpy(rounded))
        expected = model(IDS).logits[0].numpy()
    logits = Model.open(report.path, report.manifest).decoder().prefill(0, IDS[0].tolist(), keep=IDS.shape[1])
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(("form", "quantization"), [("Q8_0", "int8"), ("Q4_0", "int4")])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_blocks_of_a_file_are_kept_where_no_quantization_is_named(write, form, quantization, kind):
    path, _ = write(kind, form=GGMLQuantizationType[form], options={"intermediate_size": 64})
    lines = []
    report = export_model(path, progress=lines.append)
    assert report.manifest.quantization == quantization
    (told,) = [line for line in lines if line.startswith("weights:")]
    kept, count = re.search(r"(\d+) of (\d+) as they were stored", told).groups()
    assert kept == count
    state = {name: weight.numpy() for name, weight in load_source(path).network.model.state_dict().items()}
    graph = onnx.load(report.path / "model.onnx")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    wanted = {row.tobytes() for weight in state.values() if weight.ndim == 2 for row in weight + 0.0}
    assert {row.tobytes() for weight in _dequantized(stored) for row in weight + 0.0} <= wanted
    assert report.manifest.verification["mean_kl_divergence"] < 2e-3


def _dequantized(stored):
    for name, scales in stored.items():
        if name.endswith("_scales"):
            codes = stored[name.removesuffix("_scales") + "_codes"]
            if codes.shape[-1] == 16:
                codes = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], 32)
                levels = codes.astype(np.float32) - 8
            else:
                levels = codes.astype(np.float32) - 128
            yield (levels * scales[..., None]).reshape(len(codes), -1)


def test_a_quantization_that_is_named_is_made_anew(write):
    path, _ = write(form=GGMLQuantizationType.Q4_0, options={"intermediate_size": 64})
    lines = []
    report = export_model(path, quantization="int8", progress=lines.append)
    assert report.manifest.quantization == "int8"
    assert not any("as they were stored" in line for line in lines)


def test_the_header_is_read_as_ggufs_own_reader_does(write):
    path, _ = write("qwen3", form=GGMLQuantizationType.Q4_0, options={"intermediate_size": 64})
    ours, theirs = read_gguf(path), GGUFReader(path)
    for name, field in theirs.fields.items():
        if not name.startswith("GGUF."):
            value = ours.facts[name]
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents()
    for tensor in theirs.tensors:
        expected = dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(ours.weight(tensor.name), expected)


def test_frequencies_are_divided_as_llama_3_1_says(write):
    rope = {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    frequencies = 1e4 ** (-np.arange(0, 16, 2) / 16)
    lengths = 2 * np.pi / frequencies
    smooth = (16 / lengths - 1) / 3
    between = 1 / ((1 - smooth) / 8 + smooth)
    factors = np.where(lengths < 16 / 4, 1, np.where(lengths > 16, 8, between)).astype(np.float32)
    path, model = write(options={"rope_parameters": rope}, extra={"rope_freqs.weight": factors})
    with torch.no_grad():
        expected = model(IDS).logits
    torch.testing.assert_close(load_source(path).network.reference(IDS), expected, atol=5e-5, rtol=1e-3)


def test_linear_scaling_of_positions_is_kept(write):
    rope = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    path, model = write(
        options={"rope_parameters": rope}, facts={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    )
    with torch.no_grad():
        expected = model(IDS).logits
    torch.testing.assert_close(load_source(path).network.reference(IDS), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "qwen2", "llama-bpe", "deepseek-r1-qwen"])
def test_text_is_split_by_the_rule_of_the_file(write, byte_bpe, pre):
    path, _ = write(vocabulary=byte_vocabulary(byte_bpe, pre=pre))
    words = tokenizer_of(read_gguf(path))
    split = [piece for piece, _ in words.pre_tokenizer.pre_tokenize_str("I'LL go 1234 x\n\n  y")]
    digits = {"gpt-2": ["Ġ1234"], "llama-bpe": ["Ġ", "123", "4"], "smollm": ["1", "2", "3", "4"]}
    at = split.index(digits.get(pre, ["1"])[0])
    wanted = digits.get(pre, ["1", "2", "3", "4"])
    assert split[at : at + len(wanted)] == wanted
    assert all(
        words.decode(words.encode(text).ids, skip_special_tokens=False).endswith(text) for text in TEXTS
    )


def test_texts_begin_and_end_as_the_file_says(write, byte_bpe):
    def first(**facts):
        path, _ = write(vocabulary=byte_vocabulary(byte_bpe, **facts))
        words = tokenizer_of(read_gguf(path))
        plain = words.encode("the end", add_special_tokens=False).ids
        ids = words.encode("the end").ids
        assert plain == ids[ids.index(plain[0]) :][: len(plain)]
        return len(ids) - len(plain)

    assert first() == 0
    assert first(pre="llama-bpe") == 1
    assert first(pre="llama-bpe", add_bos_token=False) == 0
    assert first(add_bos_token=True, add_eos_token=True) == 2


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_vocabularies_give_the_ids_of_sentencepiece(write, sentencepiece_file, prefix):
    processor = SentencePieceProcessor(model_file=str(sentencepiece_file))
    vocabulary = sentencepiece_vocabulary(processor, add_bos_token=False, add_space_prefix=prefix)
    path, _ = write("gemma", vocabulary)
    words = tokenizer_of(read_gguf(path))
    for text in ("The fox sat down.", "A cat and a dog, naïve café 🦊 你好", "the end"):
        expected = processor.encode(text)
        if not prefix:
            bare = processor.encode(f"\u2581{text}".replace(" ", "\u2581"))
            assert words.encode(f" {text}").ids == bare == expected
        else:
            assert words.encode(text).ids == expected
        assert words.decode(words.encode(text).ids) == text


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"expert_count": 8}, "mixture of experts"),
        ({"attention.scale": 0.5}, r"says llama\.attention\.scale, which is not known"),
        ({"rope.scaling.type": "yarn"}, "scales positions by yarn"),
        ({"rope.dimension_count": 8}, r"rope\.dimension_count 8 for heads of 16"),
        ({"block_count": None}, r"does not say llama\.block_count"),
        ({"block_count": 0}, r"says llama\.block_count 0"),
        ({"block_count": 10**6}, "1000000 layers, but holds only"),
        ({"block_count": 3}, "lacks weights of LlamaForCausalLM"),
        ({"block_count": 1}, "holds weights of 2 layers"),
        ({"context_length": 2**32 - 1}, r"window of 4,294,967,295 tokens, .*Pass --max-context"),
        ({"context_length": "long"}, r"says llama\.context_length long"),
        ({"embedding_length": 2**31}, "does not belong to the weights"),
        ({"attention.head_count": 5}, r"5 heads, which do not divide|does not belong|cannot be loaded"),
        ({"attention.layer_norm_rms_epsilon": float("nan")}, "layer_norm_rms_epsilon nan"),
    ],
)
def test_facts_that_are_wrong_or_not_known_are_refused_by_name(write, facts, message):
    refused(write(facts=facts)[0], message)


def test_other_architectures_are_refused_by_name(write):
    path, _ = write()
    path.write_bytes(path.read_bytes().replace(b"llama", b"mamba"))
    refused(path, "of the architecture mamba; those of llama, qwen2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, w: None if n == "blk.1.ffn_up.weight" else w, r"lacks weights .*layers\.1\.mlp\.up_proj"),
        (
            lambda n, w: w[:, :16] if n == "blk.0.ffn_up.weight" else w,
            r"up_proj\.weight has shape \[48, 16\]",
        ),
        (lambda n, w: None if n == "token_embd.weight" else w, "lacks|does not belong|cannot be loaded"),
        (lambda n, w: w * np.float32("nan") if n == "output_norm.weight" else w, "NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(write, change, message):
    refused(write(change=change)[0], message)


def test_weights_that_the_architecture_does_not_have_are_refused(write):
    path, _ = write(extra={"blk.0.attn_sinks.weight": np.ones(4, np.float32)})
    refused(path, r"does not have: blk\.0\.attn_sinks\.weight")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"pre": "tekken"}, "splits text by the rule tekken"),
        ({"pre": None}, "an old converter, without a name"),
    ],
)
def test_rules_that_are_not_known_are_refused_by_name(write, byte_bpe, vocabulary, message):
    refused(write(vocabulary=byte_vocabulary(byte_bpe, **vocabulary))[0], message)


def hostile(kind, tokens, special=False):
    def add(writer):
        writer.add_tokenizer_model(kind)
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3 if special else 1] * len(tokens))
        writer.add_token_scores([0.0] * len(tokens))
        writer.add_token_merges([])

    return add


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (hostile("llama", ["a" * 1_000_000]), "has a piece of more than 16384 characters"),
        (
            hostile("llama", [f"{number}" * 1000 for number in range(100, 200)]),
            "longer .*tokens than any model",
        ),
        (hostile("gpt2", ["a" * 1_000_000]), "has a piece of more than 16384 characters"),
        (hostile("gpt2", [f"<{number}>" for number in range(100_001)], special=True), "100001 entries, more"),
        (hostile("gpt2", [f"{number:016000}" for number in range(70)], special=True), "characters together"),
    ],
)
def test_tokens_that_no_model_has_are_refused_before_they_take_time(write, vocabulary, message):
    refused(write(vocabulary=vocabulary)[0], message)


def test_kinds_of_tokenizers_that_cannot_be_rebuilt_are_refused_by_name(write):
    def bert(writer):
        writer.add_tokenizer_model("bert")
        writer.add_token_list(["a"])
        writer.add_token_types([1])

    refused(write(vocabulary=bert)[0], "tokenizer of the kind bert")


def test_a_configuration_beside_a_file_is_refused(write, tmp_path):
    path, _ = write()
    with pytest.raises(ExportError, match=r"has its own configuration\. Leave --config"):
        load_source(path, tmp_path / "c.json")


def header(tensors=0, facts=0, rest=b"", version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, facts) + rest


def text(content):
    return struct.pack("<Q", len(content)) + content


DAMAGED = {
    "empty": (b"GGUF", "ends within its header"),
    "old": (header(version=1), "of version 1; versions 2 and 3"),
    "turned": (header(version=3 << 24), "in little-endian order"),
    "many tensors": (header(tensors=2**63), "tensors, more than any model"),
    "many facts": (header(facts=2**64 - 1), "ends within its header"),
    "long text": (header(facts=1, rest=struct.pack("<Q", 2**63)), "ends within its header"),
    "many numbers": (header(facts=1, rest=text(b"a") + struct.pack("<IIQ", 9, 0, 2**62)), "ends within"),
    "many texts": (header(facts=1, rest=text(b"a") + struct.pack("<IIQ", 9, 8, 2**62)), "ends within"),
    "nested": (header(facts=1, rest=text(b"a") + struct.pack("<IIQ", 9, 9, 1)), "unknown kind 9"),
    "unknown kind": (header(facts=1, rest=text(b"a") + struct.pack("<I", 77)), "unknown kind 77"),
    "no text": (header(facts=1, rest=text(b"\xff")), "header cannot be read"),
    "twice": (header(facts=2, rest=2 * (text(b"a") + struct.pack("<II", 4, 1))), "says a twice"),
    "dimensions": (header(tensors=1, rest=text(b"a") + struct.pack("<I", 9)), "has 9 dimensions"),
    "large": (
        header(tensors=1, rest=text(b"a") + struct.pack("<IQQIQ", 2, 2**63, 2**63, 0, 0)),
        "does not hold a once and whole",
    ),
    "form": (header(tensors=1, rest=text(b"a") + struct.pack("<IQIQ", 1, 1, 999, 0)), "in the form 999"),
    "alignment": (
        header(facts=1, rest=text(b"general.alignment") + struct.pack("<II", 4, 0)),
        "general.alignment 0",
    ),
    "part": (header(facts=1, rest=text(b"split.count") + struct.pack("<IH", 2, 3)), "one of 3 parts"),
    "nothing": (header(), "does not say general.architecture"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused_without_time_or_memory(tmp_path, case):
    content, message = DAMAGED[case]
    (tmp_path / "m.gguf").write_bytes(content)
    refused(tmp_path / "m.gguf", message)


def test_a_header_beyond_any_models_is_refused(tmp_path):
    with (tmp_path / "m.gguf").open("wb") as file:
        file.write(header(facts=1, rest=text(b"a") + struct.pack("<IIQ", 9, 0, 100 << 20)))
        file.truncate(200 << 20)
    refused(tmp_path / "m.gguf", "a header beyond any model's")


def test_two_tensors_in_one_place_are_refused(write):
    path, _ = write()
    content = path.read_bytes()
    at = content.index(b"blk.1.ffn_up.weight")
    (path.write_bytes(content[:at] + b"blk.0.ffn_up.weight" + content[at + 19 :]))
    refused(path, r"does not hold blk\.0\.ffn_up\.weight once")


def test_a_file_that_is_cut_short_is_refused(write):
    path, _ = write()
    os.truncate(path, path.stat().st_size - 1000)
    refused(path, "is damaged: it does not hold")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "m.gguf")
    refused(tmp_path / "m.gguf", "is not a plain file")


def test_the_window_may_be_shortened(write):
    path, _ = write()
    assert load_source(path).network.facts.context_length == WINDOW
    assert load_source(path, max_context=32).network.facts.context_length == 32
