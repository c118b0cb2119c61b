"""Write tests/runtime/beam_cases.json: what transformers 4.46.3 generates in random tiny languages.

Left out are cases in which transformers itself leaves the rules: it goes on
with forbidden tokens where there are too few others, and makes NaN of a forbidden EOS.
"""

import json
from pathlib import Path
from random import Random

import numpy as np
import torch
import transformers
from processors import let_every_beam_see_the_prompt
from tiny_language import logits
from transformers.generation.beam_search import BeamSearchScorer
from transformers.modeling_outputs import CausalLMOutput

OUTPUT = Path(__file__).resolve().parents[1] / "runtime" / "beam_cases.json"
CASES = 400

Options = dict[str, object]


class Forbidden(Exception):  # noqa: N818 (not an error: a case to leave out)
    """A beam was extended with a forbidden token."""


class TinyModel(transformers.PreTrainedModel, transformers.GenerationMixin):
    """The language of one seed as a model."""

    config_class = transformers.PretrainedConfig

    def __init__(self, seed: int, vocab_size: int) -> None:
        """Without weights, but for one that tells the device."""
        super().__init__(transformers.PretrainedConfig(vocab_size=vocab_size))
        self.device_marker = torch.nn.Parameter(torch.zeros(1))
        self.seed = seed
        self.vocab_size = vocab_size

    def forward(self, input_ids: torch.Tensor, **_: object) -> CausalLMOutput:
        """Logits [B, 1, V]."""
        rows = [logits(self.seed, ids, self.vocab_size) for ids in input_ids.tolist()]
        return CausalLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None])

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **_: object,
    ) -> dict[str, torch.Tensor]:
        """Whole sequences."""
        return {"input_ids": input_ids}


def main() -> None:
    """Draw cases until there are enough."""
    refuse_forbidden_tokens()
    let_every_beam_see_the_prompt()
    made: list[dict[str, object]] = []
    seed = 0
    while len(made) < CASES:
        seed += 1
        options = draw_options(Random(seed))
        vocab_size = options.pop("vocab_size")
        prompt = options.pop("prompt")
        try:
            results = generate(TinyModel(seed, vocab_size), prompt, options)
        except Forbidden:
            continue
        case = {
            "seed": seed,
            "vocab_size": vocab_size,
            "prompt": prompt,
            "options": options,
            "results": results,
        }
        made.append(case)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in made)
    OUTPUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(made)} of {seed} cases, {OUTPUT.stat().st_size} bytes")


def draw_options(random: Random) -> Options:
    """A prompt, a vocabulary large enough for as many candidates as transformers needs, and what to do with them."""
    groups = random.choice([1, 1, 1, 2, 3])
    size = random.randint(2, 6) if groups == 1 else random.randint(1, 3)
    ends = random.choice([0, 1, 1, 2, 3])
    candidates = max(2, 1 + ends) * size
    vocab_size = random.randint(max(candidates, 3), max(candidates, 24))
    new_tokens = random.randint(1, 20)
    least = random.choice([0, 0, random.randint(1, new_tokens)])
    options: Options = {
        "vocab_size": vocab_size,
        "prompt": [random.randrange(vocab_size) for _ in range(random.randint(1, 8))],
        "max_new_tokens": new_tokens,
        "min_new_tokens": least,
        "num_beams": size * groups,
        "num_return_sequences": random.randint(1, size * groups),
        "length_penalty": random.choice([-1.0, 0.0, 0.5, 1.0, 2.0]),
        "early_stopping": random.choice([True, False, "never"]),
        "repetition_penalty": random.choice([1.0, 1.0, 0.8, 1.3]),
        "encoder_repetition_penalty": random.choice([1.0, 1.0, 1.0, 1.3]),
        "no_repeat_ngram_size": random.choice([0, 0, 0, 1, 2, 3]),
    }
    if ends:
        options["eos_token_id"] = random.sample(range(vocab_size), ends)
        options["pad_token_id"] = random.randrange(vocab_size)
        if random.random() < 0.2:
            options["exponential_decay_length_penalty"] = [
                random.randint(least, least + 5),
                random.choice([0.9, 1.2]),
            ]
    if groups > 1:
        options |= {"num_beam_groups": groups, "diversity_penalty": random.choice([0.2, 1.0, 5.0])}
    return options


def generate(model: TinyModel, prompt: list[int], options: Options) -> list[list[object]]:
    """(new ids without EOS, score) of every returned sequence."""
    inputs = torch.tensor([prompt])
    output = model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        generation_config=transformers.GenerationConfig(do_sample=False, use_cache=False, **options),
        return_dict_in_generate=True,
        output_scores=True,
    )
    ends = options.get("eos_token_id", [])
    sequences = [ended(ids[len(prompt) :].tolist(), ends) for ids in output.sequences]
    return [
        [ids, round(score, 6)] for ids, score in zip(sequences, output.sequences_scores.tolist(), strict=True)
    ]


def ended(ids: list[int], ends: list[int]) -> list[int]:
    """The ids before the first EOS."""
    return next((ids[:position] for position, token in enumerate(ids) if token in ends), ids)


def refuse_forbidden_tokens() -> None:
    """Stop at a search step in which a candidate taken into account is impossible."""
    original = BeamSearchScorer.process

    def process(self, input_ids, next_scores, next_tokens, next_indices, **options):
        if not torch.isfinite(next_scores).all():
            raise Forbidden
        return original(self, input_ids, next_scores, next_tokens, next_indices, **options)

    BeamSearchScorer.process = process


if __name__ == "__main__":
    main()
