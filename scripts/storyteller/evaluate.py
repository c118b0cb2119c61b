"""Let the trained storyteller tell 20 stories with upstream's own inference, and judge them.

    PYTHONPATH=<folder with upstream's llmbuilder 2.0.0> python evaluate.py --model artifacts/storyteller

With `--samples FILE` the stories in that file are judged instead, whoever told them; then no torch is needed.
It looks like the file written here:

    {"samples": [{"prompt": ..., "seed": ..., "text": ..., "ended": true}, ...]}
"""

import argparse
import json
import lzma
from pathlib import Path

from metrics import Sample, longest_shared_run, summarize
from sentencepiece import SentencePieceProcessor

PROMPTS = ("Once upon a time", "One day, a little", "One sunny day", "In a small village", "There was a")
SAMPLES = 20


def tell_stories(folder: Path) -> list[Sample]:
    """One story a seed at upstream's defaults (temperature 0.8, top-k 50, top-p 0.9), up to a full window."""
    import torch

    from llmbuilder.inference.generate import GenerationConfig, TextGenerator

    generator = TextGenerator(folder / "model.pt", folder / "tokenizer", device="cpu")
    tokenizer, window = generator.tokenizer, generator.model.block_size

    def tell(prompt: str, seed: int) -> Sample:
        torch.manual_seed(seed)
        ids = tokenizer.encode(prompt)
        config = GenerationConfig(max_new_tokens=window - len(ids), eos_token_id=tokenizer.eos_id())
        # The public method returns the text only, which does not tell whether the story ended.
        told = generator._generate_tokens(torch.tensor([ids]), config)[0].tolist()  # noqa: SLF001
        ended = told[-1] == tokenizer.eos_id()
        return Sample(prompt=prompt, seed=seed, text=tokenizer.decode(told), ended=ended)

    return [tell(PROMPTS[seed % len(PROMPTS)], seed) for seed in range(SAMPLES)]


def shared_runs(samples: list[Sample], stories: Path, tokenizer: SentencePieceProcessor) -> list[int]:
    """For each sample, the longest run of tokens that it shares with one text of the corpus."""
    texts = lzma.decompress(stories.read_bytes()).decode().replace("\t", " ").splitlines()
    known = tokenizer.encode(texts)
    return [longest_shared_run(tokenizer.encode(sample["text"]), known) for sample in samples]


def read_samples(path: Path) -> list[Sample]:
    """The stories of an earlier result."""
    samples: list[Sample] = json.loads(path.read_text("utf-8"))["samples"]
    return samples


def main() -> None:
    """Tell or read the stories, judge them, write the result."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with model.pt and tokenizer/")
    parser.add_argument("--samples", type=Path, help="judge these stories instead of telling new ones")
    parser.add_argument("--stories", type=Path, default=here / "stories.tsv.xz", help="the training text")
    parser.add_argument("--out", type=Path, help="result file (default: samples.json beside model.pt)")
    args = parser.parse_args()

    samples = read_samples(args.samples) if args.samples else tell_stories(args.model)
    tokenizer = SentencePieceProcessor(model_file=str(args.model / "tokenizer" / "tokenizer.model"))
    summary = summarize(samples, shared_runs(samples, args.stories, tokenizer))
    out = args.out or args.model / "samples.json"
    out.write_text(json.dumps({"summary": summary, "samples": samples}, indent=2) + "\n", "utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
