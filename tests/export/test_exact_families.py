"""What families compute: transformers' own logits and greedy tokens, in batches and past the window."""

from itertools import pairwise

import families
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmbuilder import TextGenerator
from llmbuilder.engine.model import Model
from llmbuilder_export import export_model

SAMPLE = ("mixtral+window", "falcon+biases of five heads", "gptj", "nemotron", "gpt_oss")
LENGTHS = (3, 20, 100)
NEW = 16
IN_HALVES = 2
EXACT = 1e-3


def in_sample_or_proof(name, seed):
    return pytest.param(name, seed, marks=() if name in SAMPLE and not seed else pytest.mark.prove)


every_family = pytest.mark.parametrize(
    ("name", "seed"), [in_sample_or_proof(name, seed) for name, seed in families.SEEDED]
)


def prompt_of(length, vocabulary):
    return np.random.default_rng(length).integers(3, vocabulary, length).tolist()


class Oracle:
    """transformers itself, with the tokens of a tokenizer."""

    def __init__(self, folder, vocabulary):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.unknown = list(range(vocabulary, self.model.config.get_text_config().vocab_size))

    def logits(self, ids):
        with torch.inference_mode():
            return self.model(torch.tensor([ids])).logits[0].numpy()

    def greedy(self, ids, count):
        """The next tokens by transformers' own cache and loop."""
        given = torch.tensor([ids])
        tokens = self.model.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, use_cache=True, max_new_tokens=count,
            min_new_tokens=count, suppress_tokens=self.unknown, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        return tokens[0, len(ids) :].tolist()

    def greedy_past(self, ids, count, window):
        """As `greedy`; a full window begins anew with its last three quarters."""
        inside = max(0, min(count, window + 1 - len(ids)))
        ids = ids + self.greedy(ids, inside)
        kept = ids[-(window - window // 4) :]
        return ids[len(ids) - inside :] + self.greedy(kept, count - inside)


def stepped(decoder, prompts, tokens):
    """Logits of each step of a batch, [steps, rows, V]."""
    for row, prompt in enumerate(prompts):
        decoder.prefill(row, prompt)
    return np.stack([np.array(decoder.step(list(each))) for each in zip(*tokens, strict=True)])


@every_family
def test_families_compute_what_transformers_does(name, seed, tmp_path, byte_bpe_file, record_proof):
    families.save_family(name, tmp_path / "model", seed)
    options = {"output": tmp_path / "bundle", "max_context": families.WINDOW, "progress": lambda _: None}
    report = export_model(tmp_path / "model", byte_bpe_file, quantization="none", **options)
    vocabulary = report.manifest.tokenizer.vocab_size
    oracle = Oracle(tmp_path / "model", vocabulary)
    window = report.manifest.model.context_length
    prompts = [prompt_of(length, vocabulary) for length in LENGTHS if length + NEW < window]
    expected = [oracle.greedy(prompt, NEW) for prompt in prompts]

    model = Model.open(report.path, report.manifest, device="cpu")
    longest = prompts[-1]
    theirs = oracle.logits(longest)
    halves = [0, len(longest) // IN_HALVES, len(longest)]
    decoder = model.decoder()
    ours = [decoder.prefill(0, longest[a:b], keep=b - a) for a, b in pairwise(halves)]
    difference = float(np.abs(np.concatenate(ours) - theirs).max())
    assert difference < EXACT * max(1.0, float(np.abs(theirs).max()) / 100)

    together = stepped(model.decoder(rows=len(prompts)), prompts, expected)
    for row, (prompt, tokens) in enumerate(zip(prompts, expected, strict=True)):
        alone = stepped(model.decoder(), [prompt], [tokens])
        np.testing.assert_array_equal(alone[:, 0], together[:, row])

    with TextGenerator(report.path) as generator:
        for prompt, tokens in zip(prompts, expected, strict=True):
            (completion,) = generator.complete(
                prompt, do_sample=False, early_stopping=False, use_cache=True, max_new_tokens=NEW
            )
            assert list(completion.token_ids) == tokens
        prompt = prompt_of(window - 5, vocabulary)
        (completion,) = generator.complete(
            prompt, do_sample=False, early_stopping=False, use_cache=True, max_new_tokens=NEW
        )
        assert list(completion.token_ids) == oracle.greedy_past(prompt, NEW, window)
    record_proof(f"{name} {seed}" if seed else name, difference=difference)


@pytest.mark.prove
@pytest.mark.parametrize("name", families.EXPORTED)
def test_quantized_families_stay_within_the_bounds_of_verification(
    name, tmp_path, byte_bpe_file, record_proof
):
    families.save_family(name, tmp_path / "model")
    for mode in ("int8", "int4", "w8a8"):
        options = {"output": tmp_path / mode, "max_context": families.WINDOW, "progress": lambda _: None}
        report = export_model(tmp_path / "model", byte_bpe_file, quantization=mode, **options)
        record_proof(f"{name} {mode}", divergence=report.manifest.verification["mean_kl_divergence"])
