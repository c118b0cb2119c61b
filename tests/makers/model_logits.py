"""Print the version of transformers and save a model's logits for every prompt: the same script for every version."""

import sys

import numpy as np
import torch
import transformers
from configurations import PROMPTS
from tokenizers import Tokenizer


def main(model_path: str, output: str) -> None:
    """Save logits [n, V] of each prompt."""
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_path, attn_implementation="eager")
    model.float().eval()
    tokenizer = Tokenizer.from_file(f"{model_path}/tokenizer.json")
    with torch.inference_mode():
        rows = [model(torch.tensor([tokenizer.encode(prompt).ids])).logits[0].numpy() for prompt in PROMPTS]
    np.savez(output, *rows)
    print(transformers.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
