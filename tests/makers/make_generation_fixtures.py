"""Write tests/interop/generation_oracle/fixtures.json: what transformers 4.46.3 generates for each configuration.

    make_generation_fixtures.py SMOLLM2_DIRECTORY NEWER_PYTHON

SMOLLM2_DIRECTORY is what scripts/smollm2.py makes, NEWER_PYTHON an interpreter with transformers 5, which wrote the
directory's conventions: both versions must compute equal logits before anything is generated. Results are kept
after every configuration, so that an interrupted run goes on where it was.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from configurations import PROMPTS, Options, configurations, theirs
from processors import let_every_beam_see_the_prompt
from remembering import RememberingLlama
from tokenizers import Tokenizer

OUTPUT = Path(__file__).resolve().parents[1] / "interop" / "generation_oracle" / "fixtures.json"
TOLERANCE = 1e-3
"""Most that logits of two versions may differ; a lost rope_theta costs whole units."""
CERTAIN = 99.0
"""Margins are stored up to here."""


def main(model_path: str, newer_python: str) -> None:
    """Run what is not in the file yet."""
    compare_versions(model_path, newer_python)
    torch.set_num_threads(1)
    let_every_beam_see_the_prompt()
    model = RememberingLlama.from_pretrained(model_path, attn_implementation="eager").float().eval()
    tokenizer = Tokenizer.from_file(f"{model_path}/tokenizer.json")
    prompts = [tokenizer.encode(prompt).ids for prompt in PROMPTS]
    results = json.loads(OUTPUT.read_text())["results"] if OUTPUT.exists() else {}
    wanted = configurations()
    for number, (name, options) in enumerate(wanted.items(), 1):
        if name not in results:
            started = time.monotonic()
            results[name] = [generate(model, prompt, options) for prompt in prompts]
            write({kept: results[kept] for kept in wanted if kept in results}, prompts)
            print(f"{number}/{len(wanted)} {time.monotonic() - started:.0f} s {name}", flush=True)


def compare_versions(model_path: str, newer_python: str) -> None:
    """Fail unless this and another version of transformers find the same logits."""
    script = Path(__file__).with_name("model_logits.py")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.npz") for number in range(2)]
        versions = [
            subprocess.run(
                [python, script, model_path, file], check=True, capture_output=True, text=True
            ).stdout.strip()
            for python, file in zip((sys.executable, newer_python), files, strict=True)
        ]
        here, there = (np.load(file) for file in files)
        worst = max(float(np.abs(here[name] - there[name]).max()) for name in here.files)
    print(f"transformers {versions[0]} and {versions[1]}: logits differ by at most {worst:.1e}", flush=True)
    if worst > TOLERANCE or versions[0] == versions[1]:
        raise SystemExit("These must be two versions that agree on the logits.")


def generate(model: transformers.PreTrainedModel, prompt: list[int], options: Options) -> dict[str, object]:
    """New ids of every returned sequence; with beams their scores, else how far the best token leads at each step."""
    inputs = torch.tensor([prompt])
    merged = theirs(options)
    with torch.inference_mode():
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=transformers.GenerationConfig(**merged, use_cache=False),
            return_dict_in_generate=True,
            output_scores=True,
        )
    sequences = [ended(ids[len(prompt) :].tolist(), merged["eos_token_id"]) for ids in output.sequences]
    if merged["num_beams"] > 1:
        return {"ids": sequences, "scores": [round(score, 5) for score in output.sequences_scores.tolist()]}
    return {"ids": sequences, "margins": [margin(step[0]) for step in output.scores]}


def ended(ids: list[int], eos_ids: list[int]) -> list[int]:
    """The ids up to the first EOS, without the padding after it."""
    ends = [position for position, token in enumerate(ids) if token in eos_ids]
    return ids[: ends[0] + 1] if ends else ids


def margin(scores: torch.Tensor) -> float:
    """Distance of the two best scores."""
    first, second = scores.topk(2).values.tolist()
    return round(min(first - second, CERTAIN), 5)


def write(results: dict[str, object], prompts: list[list[int]]) -> None:
    """One line for each configuration."""
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(made, separators=(',', ':'))}" for name, made in results.items()
    )
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    head = f'"versions": {json.dumps(versions)},\n"prompts": {json.dumps(prompts)},\n'
    OUTPUT.write_text(f'{{\n{head}"results": {{\n{lines}\n}}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
