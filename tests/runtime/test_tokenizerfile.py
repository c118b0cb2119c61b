"""Files that would take the process down are refused before the library reads them."""

import base64
import json
import re
import struct

import pytest

from llmbuilder.errors import TokenizerError
from llmbuilder.tokenizer import load_tokenizer
from llmbuilder.tokenizerfile.reading import check_tokenizer_json


@pytest.fixture
def parts(byte_bpe_file):
    """A whole file as an object."""
    return json.loads(byte_bpe_file.read_text(encoding="utf-8"))


def refused(parts, message):
    with pytest.raises(TokenizerError, match=re.escape(message)):
        check_tokenizer_json(json.dumps(parts).encode(), "tokenizer.json")


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def replacing(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def matching(pattern, content="-"):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def charsmap(*units, texts=b"\0"):
    table = struct.pack(f"<I{len(units)}I", 4 * len(units), *units)
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table + texts).decode()}


def nested(depth, *, width=1):
    found = {"type": "NFC"}
    for _ in range(depth):
        found = sequence("normalizers", *[found] * width)
    return found


def template(single, **named):
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": named}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TEXT_A = {"Sequence": {"id": "A", "type_id": 0}}
MARK = {"SpecialToken": {"id": "<s>", "type_id": 0}}
NAMED = {"id": "<s>", "ids": [0], "tokens": ["<s>"]}


@pytest.mark.parametrize(
    ("normalizer", "message"),
    [
        (charsmap(0xFFFFFFFF), "leads out of its own table at normalizer.precompiled_charsmap"),
        (charsmap(), "has a table of 0 bytes"),
        (charsmap(*[1 << 10] * 2), "leads out of its own table"),
        (
            {
                "type": "Precompiled",
                "precompiled_charsmap": base64.b64encode(b"\xff\xff\xff\x7f" + b"\0" * 60).decode(),
            },
            "has a table of 2147483647 bytes in 64 bytes",
        ),
        ({"type": "Precompiled", "precompiled_charsmap": "ü"}, "has no Base64"),
        ({"type": "Precompiled"}, "has no text but None"),
        (sequence("normalizers", *[replacing("a", "aa")] * 5), "makes texts 32 times longer"),
        (sequence("normalizers", *[matching("a", "aa")] * 40), "times longer, more than 16 times"),
        (replacing("", "a"), "replaces what may be nothing at normalizer.pattern"),
        (matching("a*"), "replaces what may be nothing"),
        (matching("(?=a)b?|c"), "replaces what may be nothing"),
        (matching("(a+)+b"), "has a repetition in a repetition in a regular expression (character 5)"),
        (matching("(?:a{9}){9}"), "a repetition in a repetition"),
        (matching("a*b*c*d*e*f"), "too many ways to match"),
        (matching("a{9999}"), "a repetition of over a thousand times"),
        (matching(r"(a)\1"), "an unknown escape"),
        (matching(r"(?<a>b\g<a>?)"), "an unknown group"),
        (matching("(" * 50), "too many groups in groups"),
        (matching("a" * 5000), "has 5000 characters, not 0 to 4096"),
        (nested(100), "has sequences in sequences, more than 8 deep"),
        (nested(1, width=65), "has 65 entries, more than 64"),
        (nested(7, width=3), "has 81 components, more than 64"),
        (nested(1, width=3), "has NFC 3 times"),
        ({"type": "Prepend", "prepend": "x" * 65}, "has 65 characters, not 0 to 64"),
        ({"type": "Eval"}, "has the unknown component 'Eval' at normalizer"),
        ({"normalizers": []}, "has the unknown component None"),
    ],
)
def test_a_normalizer_that_could_grow_or_panic_is_refused(parts, normalizer, message):
    refused(parts | {"normalizer": normalizer}, message)


@pytest.mark.parametrize(
    ("slot", "value", "message"),
    [
        ("pre_tokenizer", {"type": "FixedLength", "length": 0}, "unknown component 'FixedLength'"),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a*)*b"}}, "a repetition in a repetition"),
        ("pre_tokenizer", sequence("pretokenizers", *[BYTES] * 5), "has ByteLevel 5 times"),
        ("decoder", {"type": "Strip", "content": "e", "start": 0, "stop": 1}, "no whole number from 0 to 0"),
        ("decoder", sequence("decoders", *[replacing("a", "aaa")] * 3), "makes texts 27 times longer"),
        ("post_processor", template([TEXT_A] * 2), "repeats a text"),
        ("post_processor", template([TEXT_A] * 100_000), "has 100000 entries, more than 64"),
        ("post_processor", template([{"Sequence": {"id": "B"}}]), "repeats a text, or has others"),
        ("post_processor", template([MARK, TEXT_A]), "names a token that special_tokens lack"),
        ("post_processor", template([{}]), "has no object but None"),
        (
            "post_processor",
            template([MARK, TEXT_A], **{"<s>": {**NAMED, "ids": [1] * 65}}),
            "has 65 entries, more than 64",
        ),
        ("post_processor", {"type": "BertProcessing", "sep": ["x", 1 << 32], "cls": ["x", 1]}, "4294967296"),
        ("model", {"type": "Magic", "vocab": {}}, "has the unknown model 'Magic'"),
        ("model", {"vocab": {"a": 1 << 30}}, "no whole number from 0 to 4194303, at model.vocab"),
        ("model", {"vocab": {"a" * 20_000: 1}}, "a piece of more than 16384 characters"),
        ("model", {"vocab": {}, "merges": ["a b c"]}, "no pair of pieces"),
        ("model", {"vocab": {}, "merges": ["a b"], "continuing_subword_prefix": "##"}, "lacks '##'"),
        ("model", {"vocab": {}, "dropout": 0.5}, "leaves out merges at random"),
        ("model", {"vocab": {}, "max_input_chars_per_word": 10**9}, "no whole number from 0 to 1000"),
        ("model", {"type": "Unigram", "vocab": ["a"]}, "has a piece without its score"),
        ("model", {"type": "Unigram", "vocab": [["a" * 16_000, 0.0]] * 501}, "pieces of 8016000 bytes"),
        ("added_tokens", [{"id": i, "content": "a"} for i in range(100_001)], "has 100001 entries"),
        ("added_tokens", [{"id": 1, "content": "a" * 16_000}] * 63, "has 1008000 characters together"),
        ("added_tokens", [{"id": 1 << 32, "content": "a"}], "4294967296"),
    ],
)
def test_other_parts_that_could_grow_or_panic_are_refused(parts, slot, value, message):
    refused(parts | {slot: value}, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{" * 100_000, "is not a readable tokenizer.json"),
        (b"[" * 100_000, "is not a readable tokenizer.json"),
        (b'{"model": {"vocab": {}}, "model": 1}', "the key 'model' stands there twice"),
        (b'{"model": NaN}', "NaN is no number of JSON"),
        (b"[]", "has no object but []"),
        (b"\xff\xfe", "is not a readable tokenizer.json"),
        (b'{"model": {"vocab": {"a": ' + b"9" * 5000 + b"}}}", "is not a readable tokenizer.json"),
    ],
)
def test_what_is_no_such_json_is_refused(content, message):
    with pytest.raises(TokenizerError, match=re.escape(message)):
        check_tokenizer_json(content, "tokenizer.json")


def test_loading_checks_first(parts, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(parts | {"normalizer": charsmap(0xFFFFFFFF)}), encoding="utf-8")
    with pytest.raises(TokenizerError, match=re.escape("Get the file from its source again")):
        load_tokenizer(path)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s+(?!\S)|\s",
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        (
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        r" ?[^(\s|[.,!?…。、।،])]+",
        r"[\p{Han}]+|[\p{L}&&[^\p{Han}]]*[\p{L}\p{M}&&[^\p{Han}]]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[一-龥぀-ゟァ-ヿ]+",
        r"<\|startoftext\|>|[\p{L}]+|[^\s\p{L}\p{N}]+",
        r"(?i)(?:\r?\n)+|[0-9][0-9][0-9]|\x{2581}|a{,b}|[]a]",
        "",
    ],
)
def test_patterns_of_models_pass(parts, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    check_tokenizer_json(json.dumps(parts | {"pre_tokenizer": split}).encode(), "tokenizer.json")


@pytest.mark.parametrize(
    "pattern",
    [
        ".*.*x",
        "(?:.*.*x)?y",
        "(?=.*.*x)",
        "(?>.*.*x)",
        r"\w+\s*[a-z]+x",
        ".{0,64}.{0,64}x",
        "(?:.|.)" * 12 + "x",
        "(?:.|.){0,12}x",
        "(?:a|b){12}",
        ".{2}+.{2}+x",
        ".*x|" * 9 + "y",
    ],
)
def test_patterns_that_can_fail_in_too_many_ways_are_refused(parts, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    refused(parts | {"pre_tokenizer": split}, "too many ways to match")


@pytest.mark.parametrize(
    "pattern",
    [".*x", ".*", "x.*.*", "x.*y?", ".*+x.*+y", "(?>.*)x", ".{1000}x", r"(?:\r?\n)+(?!\r?\n)", r"[\s\S]+?x"],
)
def test_patterns_that_can_fail_in_few_ways_pass(parts, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    check_tokenizer_json(json.dumps(parts | {"pre_tokenizer": split}).encode(), "tokenizer.json")


def test_a_charsmap_of_sentencepiece_passes_and_its_damage_is_found(sentencepiece_file, parts):
    table = charsmap_in(sentencepiece_file.read_bytes())
    accepted = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    check_tokenizer_json(json.dumps(parts | {"normalizer": accepted}).encode(), "tokenizer.json")
    wrong = table[:4] + struct.pack("<I", 0xFFFFFFFF) + table[8:]
    damaged = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(wrong).decode()}
    refused(parts | {"normalizer": damaged}, "leads out of its own table")


def charsmap_in(model):
    """The bytes of field 2 of the model's normalizer (field 3), which begins with its name."""
    at = model.index(b"nmt_nfkc") + len("nmt_nfkc")
    assert model[at] == 0x12
    size = shift = 0
    while True:
        at += 1
        size |= (model[at] & 0x7F) << shift
        shift += 7
        if model[at] < 0x80:
            return model[at + 1 : at + 1 + size]
