"""Write tests/interop/smollm2_greedy.json: what transformers says greedily after twenty prompts, with SmolLM2.

    make_smollm2_greedy.py artifacts/smollm2

With the transformers of .venv-dev, which can read that directory.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

FIXTURE = Path(__file__).resolve().parents[1] / "interop" / "smollm2_greedy.json"
NEW_TOKENS = 64
PROMPTS = [
    "Once upon a time, there was a little fox who",
    "The capital of France is",
    "def fibonacci(n):\n",
    "Water boils at 100 degrees Celsius because",
    "To be, or not to be,",
    "In 1969, Neil Armstrong",
    "The three primary colours are",
    "Q: What is 12 + 30?\nA:",
    "Dear Sir or Madam,\n\nI am writing to",
    "¿Dónde está la biblioteca?",
    "The recipe needs 2 eggs, 250 g of flour and",
    "import numpy as np\n\ndef softmax(x):",
    "It was a dark and stormy night;",
    "1, 1, 2, 3, 5, 8,",
    "The mitochondria is",
    "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n",
    (
        "<|im_start|>system\nYou are a poet.<|im_end|>\n"
        "<|im_start|>user\nWrite two lines about rain.<|im_end|>\n<|im_start|>assistant\n"
    ),
    "She opened the letter and read:",
    "Les élèves de l'école",
    "A",
]


def main() -> None:
    directory = sys.argv[1]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )
    continuations = [continuation(model, tokenizer, prompt) for prompt in PROMPTS]
    made_by = f"transformers {transformers.__version__}, torch {torch.__version__}"
    content = {"made_by": made_by, "new_tokens": NEW_TOKENS, "continuations": continuations}
    FIXTURE.write_text(
        json.dumps(content, ensure_ascii=False).replace("}, {", "},\n{") + "\n", encoding="utf-8"
    )


def continuation(model, tokenizer, prompt: str) -> dict[str, object]:
    inputs = tokenizer(prompt, return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)[0].tolist()
    length = inputs["input_ids"].shape[1]
    return {"prompt": prompt, "prompt_ids": ids[:length], "new_ids": ids[length:]}


if __name__ == "__main__":
    main()
