"""Let the storyteller tell 20 stories, and judge them.

    python scripts/storyteller/evaluate.py --model artifacts/storyteller

tells them with the bundle, as `make demo` does. With `--samples FILE` the stories in that file are judged instead,
whoever told them. It looks like the file written here:

    {"samples": [{"prompt": ..., "seed": ..., "text": ..., "ended": true}, ...]}

`text` is what follows the prompt.
"""

import argparse
import json
import lzma
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from story_metrics import Sample, longest_shared_run, summarize

PROMPTS = ("Once upon a time", "One day, a little", "One sunny day", "In a small village", "There was a")
SAMPLES = 20
WINDOW = 256


def tell_stories(bundle: Path) -> list[Sample]:
    """One story a seed at the runtime's defaults (temperature 0.8, top-k 50, top-p 0.9), up to a full window."""
    from llmbuilder import TextGenerator

    with TextGenerator(bundle) as generator:

        def tell(prompt: str, seed: int) -> Sample:
            (told,) = generator.complete(prompt, seed=seed, max_new_tokens=WINDOW, context_overflow="stop")
            return Sample(prompt=prompt, seed=seed, text=told.text, ended=told.finish_reason == "eos")

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
    parser.add_argument("--model", type=Path, required=True, help="folder with bundle/ and tokenizer/")
    parser.add_argument("--samples", type=Path, help="judge these stories instead of telling new ones")
    parser.add_argument("--stories", type=Path, default=here / "stories.tsv.xz", help="the training text")
    parser.add_argument("--out", type=Path, help="result file (default: samples.json in the folder)")
    args = parser.parse_args()

    samples = read_samples(args.samples) if args.samples else tell_stories(args.model / "bundle")
    tokenizer = SentencePieceProcessor(model_file=str(args.model / "tokenizer" / "tokenizer.model"))
    summary = summarize(samples, shared_runs(samples, args.stories, tokenizer))
    out = args.out or args.model / "samples.json"
    out.write_text(json.dumps({"summary": summary, "samples": samples}, indent=2) + "\n", "utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
